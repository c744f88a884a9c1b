/** Where programs of the system are. Must not know what they are for. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** PATH of this process and the folders where iproute2 often is but a user's PATH is not. */
export function programPath(): string {
  return [process.env["PATH"], "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
    .filter(Boolean)
    .join(delimiter);
}

/** The path of a program that this user may run; a name with a slash is one. Undefined: there is none. */
export function findProgram(name: string): string | undefined {
  if (name.includes("/")) return isExecutable(name) ? name : undefined;
  const folders = programPath().split(delimiter);
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
