-- ARGV[2]  how many replicas must be there to hear of it
-- ARGV[3]  how many entries are wanted
-- returns  id, record, id, record, ..., the newest first

local taken = {}
if redis.call('EXISTS', index, records) == 0 then return taken end
local said = primary()
local missing = missingReplicas(said)
if missing then return missing end
if not whole(life(said)) then
  discard()
  return taken
end

local wanted, now = tonumber(ARGV[3]), milliseconds()
while wanted > 0 do
  local newest = redis.call('ZPOPMAX', index, math.min(wanted, 500))
  if #newest == 0 then break end
  local fields = {}
  for i = 1, #newest, 2 do fields[#fields + 1] = '=' .. newest[i] end
  local found = redis.call('HMGET', records, unpack(fields))
  redis.call('HDEL', records, unpack(fields))
  for i, record in ipairs(found) do
    if good(record, now) then
      taken[#taken + 1] = newest[2 * i - 1]
      taken[#taken + 1] = record
      wanted = wanted - 1
    end
  end
end
closeEmpty()
return taken
