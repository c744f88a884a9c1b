/** Programs of other languages that the clients of the matrix run. Each fails loudly; talks.ts judges the rest. */

/** Arguments: ADDRESS PORT HOST ACT BYTES SECONDS RECEIVE_BUFFER. Two requests over one connection. */
export const PYTHON_HTTP = `
import http.client, json, socket, sys
address, port, host, act = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
count, seconds, buffer = int(sys.argv[5]), int(sys.argv[6]), int(sys.argv[7])

class Connection(http.client.HTTPConnection):
    def connect(self):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(seconds)
        if buffer > 0:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.connect((self.host, self.port))

connection = Connection(address, port)
if act == "upload":
    connection.request("PUT", "/up", body=open("pattern", "rb"),
                       headers={"Host": host, "Content-Length": str(count)})
else:
    connection.request("GET", "/bytes/%d" % count, headers={"Host": host})
answer = connection.getresponse()
assert answer.status == 200, answer.status
open("down", "wb").write(answer.read())
first = connection.sock.getsockname()
connection.request("GET", "/again", headers={"Host": host})
again = connection.getresponse()
assert json.loads(again.read())["path"] == "/again"
assert connection.sock.getsockname() == first, "one connection for both"
connection.close()
`;

/** The same arguments. Sends and receives at once; ends its side when everything is sent. */
export const PYTHON_SOCKET = `
import socket, sys, threading
address, port, host, act = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
seconds, buffer = int(sys.argv[6]), int(sys.argv[7])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
connection = socket.socket(family, socket.SOCK_STREAM)
connection.settimeout(seconds)
if buffer > 0:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
connection.connect((address, port))

def send():
    connection.sendall(open("head", "rb").read())
    connection.sendall(open("pattern", "rb").read())
    connection.shutdown(socket.SHUT_WR)

sender = threading.Thread(target=send)
sender.start()
with open("down", "wb") as down:
    while True:
        piece = connection.recv(65536)
        if not piece:
            break
        down.write(piece)
sender.join()
connection.close()
`;

/** POSTs the pattern and compares what comes back, byte by byte. */
export const WRK_ECHO = `
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args)
  good, bad = 0, 0
  local file = io.open("pattern", "rb")
  wrk.method, wrk.body = "POST", file:read("*a")
  file:close()
end
function request() return wrk.format() end
function response(status, headers, body)
  if status == 200 and body == wrk.body then good = good + 1 else bad = bad + 1 end
end
function done(summary)
  local good, bad = 0, 0
  for _, thread in ipairs(threads) do
    good, bad = good + thread:get("good"), bad + thread:get("bad")
  end
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('RESULT {"good":%d,"bad":%d,"errors":%d}\\n', good, bad, errors))
end
`;
