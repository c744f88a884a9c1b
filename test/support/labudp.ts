/**
 * Numbered datagrams for the lab. Usage: labudp send HOST PORT COUNT, or labudp receive PORT, which
 * prints the numbers in the order of their arrival as JSON when its standard input closes.
 */
import { createSocket } from "node:dgram";
import { setTimeout as wait } from "node:timers/promises";

const BURST = 25;
const [mode, ...args] = process.argv.slice(2);

if (mode === "send") await send(args[0] ?? "", Number(args[1]), Number(args[2]));
else receive(Number(args[0]));

async function send(host: string, port: number, count: number): Promise<void> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  const body = Buffer.alloc(100);
  for (let number = 0; number < count; number += 1) {
    body.writeUInt32BE(number);
    await new Promise<void>((resolve, reject) =>
      socket.send(Buffer.from(body), port, host, (error) => (error ? reject(error) : resolve())),
    );
    if (number % BURST === BURST - 1) await wait(1);
  }
  socket.close();
}

function receive(port: number): void {
  const socket = createSocket({ type: "udp6", recvBufferSize: 1 << 20 });
  const numbers: number[] = [];
  socket.on("message", (message) => numbers.push(message.readUInt32BE()));
  socket.bind(port, "::", () => process.stdout.write("listening\n"));
  process.stdin.resume().once("end", () => {
    process.stdout.write(JSON.stringify(numbers) + "\n", () => process.exit(0));
  });
}
