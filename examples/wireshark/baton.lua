-- Wireshark's view of Baton: the header of the transport's datagrams (docs/transport.md section 2), and the flow
-- identifier of encapsulated packets (docs/encap.md). What is sealed stays sealed: this reads no key.
--
--   wireshark -X lua_script:baton.lua CAPTURE
--   tshark -X lua_script:baton.lua -o baton_flow.tunnels:"198.51.100.0/24" -r CAPTURE -Y baton_flow
--
-- Encapsulated packets look like any TCP segment: they are recognised by their addresses. Give the tunnel
-- addresses of the nodes, or prefixes of them, in the preference baton_flow.tunnels.

local MAGIC = 0xba
local VERSION = 1
local HELLO, SEALED = 1, 2
local HELLO_LENGTH, HEADER_LENGTH, TAG_LENGTH = 104, 24, 16

-- ---- the transport

local baton = Proto("baton", "Baton transport")
local KINDS = { [HELLO] = "hello", [SEALED] = "sealed" }
local f = {
  version = ProtoField.uint8("baton.version", "Version", base.DEC, nil, 0xf0),
  kind = ProtoField.uint8("baton.kind", "Kind", base.DEC, KINDS, 0x0f),
  worker = ProtoField.uint16("baton.worker", "Worker"),
  window = ProtoField.uint32("baton.window", "Window (reassembly bytes)"),
  sender = ProtoField.bytes("baton.sender", "Sender"),
  receiver = ProtoField.bytes("baton.receiver", "Receiver"),
  sender_epoch = ProtoField.bytes("baton.sender_epoch", "Sender's boot epoch"),
  receiver_epoch = ProtoField.bytes("baton.receiver_epoch", "Receiver's boot epoch"),
  challenge = ProtoField.bytes("baton.challenge", "Challenge"),
  echo = ProtoField.bytes("baton.echo", "Echo"),
  mac = ProtoField.bytes("baton.mac", "MAC"),
  session = ProtoField.bytes("baton.session", "Session tag"),
  counter = ProtoField.uint64("baton.counter", "Counter"),
  frames = ProtoField.bytes("baton.frames", "Frames, encrypted"),
  tag = ProtoField.bytes("baton.tag", "GCM tag"),
}
baton.fields = f

local function hello(buffer, tree, info)
  tree:add(f.worker, buffer(2, 2))
  tree:add(f.window, buffer(4, 4))
  tree:add(f.sender, buffer(8, 8))
  tree:add(f.receiver, buffer(16, 8))
  tree:add(f.sender_epoch, buffer(24, 16))
  tree:add(f.receiver_epoch, buffer(40, 16))
  tree:add(f.challenge, buffer(56, 16))
  tree:add(f.echo, buffer(72, 16))
  tree:add(f.mac, buffer(88, 16))
  info.cols.info = "hello of " .. tostring(buffer(8, 8):bytes()) .. " to " .. tostring(buffer(16, 8):bytes())
end

local function sealed(buffer, tree, info)
  local frames = buffer:len() - HEADER_LENGTH - TAG_LENGTH
  tree:add(f.session, buffer(2, 6))
  tree:add(f.sender, buffer(8, 8))
  tree:add(f.counter, buffer(16, 8))
  if frames > 0 then tree:add(f.frames, buffer(HEADER_LENGTH, frames)) end
  tree:add(f.tag, buffer(buffer:len() - TAG_LENGTH, TAG_LENGTH))
  info.cols.info = string.format("sealed by %s, counter %s, %d bytes of frames",
    tostring(buffer(8, 8):bytes()), tostring(buffer(16, 8):uint64()), frames)
end

local function is_baton(buffer)
  if buffer:len() < HEADER_LENGTH + TAG_LENGTH or buffer(0, 1):uint() ~= MAGIC then return false end
  local second = buffer(1, 1):uint()
  if second == VERSION * 16 + HELLO then return buffer:len() == HELLO_LENGTH end
  return second == VERSION * 16 + SEALED
end

function baton.dissector(buffer, info, root)
  if not is_baton(buffer) then return 0 end
  info.cols.protocol = "Baton"
  local tree = root:add(baton, buffer())
  tree:add(f.version, buffer(1, 1))
  tree:add(f.kind, buffer(1, 1))
  if buffer(1, 1):uint() % 16 == HELLO then hello(buffer, tree, info) else sealed(buffer, tree, info) end
  return buffer:len()
end

baton:register_heuristic("udp", function(buffer, info, root)
  return baton.dissector(buffer, info, root) > 0
end)

-- ---- encapsulated packets

local flow = Proto("baton_flow", "Baton flow identifier")
local identifier = ProtoField.uint32("baton_flow.id", "Flow identifier", base.HEX)
flow.fields = { identifier }
flow.prefs.tunnels = Pref.string("Tunnel addresses", "", "IPv4 prefixes or addresses, separated by commas")

local sources = { Field.new("ip.src"), Field.new("ip.dst") }
local ports = { Field.new("tcp.srcport"), Field.new("tcp.dstport") }

local function number_of(address)
  local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a then return nil end
  return ((tonumber(a) * 256 + tonumber(b)) * 256 + tonumber(c)) * 256 + tonumber(d)
end

local function is_tunnel(address)
  local number = number_of(address)
  for prefix in flow.prefs.tunnels:gmatch("[^,%s]+") do
    local base_address, length = prefix:match("^([^/]+)/?(%d*)$")
    local first = base_address and number_of(base_address)
    local size = 2 ^ (32 - (tonumber(length) or 32))
    if number and first and math.floor(number / size) == math.floor(first / size) then return true end
  end
  return false
end

function flow.dissector(_, _, root)
  local source, destination = sources[1](), sources[2]()
  local high, low = ports[1](), ports[2]()
  if not (source and destination and high and low) then return end
  -- Both ends are nodes: a client's packet that was encapsulated, not a segment between services.
  if not (is_tunnel(tostring(source)) and is_tunnel(tostring(destination))) then return end
  root:add(flow):add(identifier, high.value * 65536 + low.value)
end

register_postdissector(flow)
