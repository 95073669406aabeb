-- returns  id, expiry, size of the value, id, ...

local listed = {}
if not whole(life(redis.call('INFO', 'replication'))) then return listed end
local now = milliseconds()
for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local record = redis.call('HGET', records, '=' .. id)
  if good(record, now) then
    local expiry = string.match(record, '^(-?%d*):')
    listed[#listed + 1] = id
    listed[#listed + 1] = expiry
    listed[#listed + 1] = #record - #expiry - 1
  end
end
return listed
