/**
 * Numbers, names and tables for people. Knows layout; must not know what is shown. Text that came from
 * a network is made printable here, so that no report can drive a terminal or forge a second line.
 */

const WIDTH_MAX = 60;

/** "412 B", "1.5 KiB", "100.0 MiB". */
export function showBytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${count} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/** "380 us", "1.24 ms", "12.0 s". */
export function showMicroseconds(us: number): string {
  if (us < 1_000) return `${Math.round(us)} us`;
  return us < 1_000_000 ? `${(us / 1_000).toFixed(2)} ms` : `${(us / 1_000_000).toFixed(1)} s`;
}

/** Groups of three digits: "1,234,567". */
export function showCount(value: number | bigint): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A flow identifier, a number below 2^32: "0x000c0007". */
export function showFlow(flow: number): string {
  return `0x${flow.toString(16).padStart(8, "0")}`;
}

/** "10.0.0.100:80", "[fd00::100]:80". */
export function showEndpoint({ address, port }: { address: string; port: number }): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Everything but printable ASCII as \xNN or \u{N}; what is too long is cut, and says so. */
export function printable(text: string, widthMax = WIDTH_MAX): string {
  const cut = text.length > widthMax ? `${text.slice(0, widthMax - 3)}...` : text;
  return cut.replace(/[^\x20-\x7e]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

/** Columns as wide as their widest cell, numbers to the right; no blanks at the ends of lines. */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly string[] = [],
): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    header
      .map((title, column) => {
        const cell = cells[column] ?? "";
        const width = widths[column] ?? 0;
        return right.includes(title) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd();
  return [header, ...rows].map((cells) => line(cells) + "\n").join("");
}
