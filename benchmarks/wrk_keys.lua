-- The requests of both JSON gateways, and of quorate's own HTTP interface.
--
--   wrk … --script wrk_keys.lua URL -- v3put | v3range | v1put | v1get
--
-- Keys are key-000 to key-999 of bench-http, at random; values have 256 bytes.
-- Everything is built once: what is measured is the server.
local KEYS = 1000
local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(data)
  local out = {}
  for at = 1, #data, 3 do
    local a, b, c = data:byte(at, at + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for place = 3, 0, -1 do
      local digit = math.floor(n / 64 ^ place) % 64 + 1
      out[#out + 1] = digits:sub(digit, digit)
    end
    if not b then out[#out - 1] = "=" end
    if not c then out[#out] = "=" end
  end
  return table.concat(out)
end

local requests = {}

function init(arguments)
  local mode = arguments[1]
  local value = string.rep("v", 256)
  local json = { ["Content-Type"] = "application/json" }
  for number = 0, KEYS - 1 do
    local key = string.format("bench-http/key-%03d", number)
    local key64 = base64(key)
    if mode == "v3put" then
      local body = '{"key":"' .. key64 .. '","value":"' .. base64(value) .. '"}'
      requests[number] = wrk.format("POST", "/v3/kv/put", json, body)
    elseif mode == "v3range" then
      local body = '{"key":"' .. key64 .. '"}'
      requests[number] = wrk.format("POST", "/v3/kv/range", json, body)
    elseif mode == "v1put" then
      requests[number] = wrk.format("PUT", "/v1/kv/" .. key, nil, value)
    elseif mode == "v1get" then
      requests[number] = wrk.format("GET", "/v1/kv/" .. key)
    else
      error("unknown mode " .. tostring(mode))
    end
  end
end

function request()
  return requests[math.random(0, KEYS - 1)]
end
