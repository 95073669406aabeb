-- ARGV[2]  how many entries the key may have
-- ARGV[3]  and on: id, expiry and value of each entry, no id twice

local most = tonumber(ARGV[2])
local now, mine = milliseconds(), life(primary())
local kept = whole(mine)
if not kept then discard() end

local function oldest() return redis.call('ZRANGE', index, 0, 0)[1] end
local function drop(id)
  redis.call('ZREM', index, id)
  redis.call('HDEL', records, '=' .. id)
end

-- A server that is out of memory refuses a script's first write if it makes
-- data grow, and after the first it refuses none. A removal that removes
-- nothing would count as one.
local fresh = {}
for i = 3, #ARGV, 3 do
  if kept and redis.call('ZSCORE', index, ARGV[i]) then drop(ARGV[i]) end
  if good(ARGV[i + 1] .. ':', now) then fresh[#fresh + 1] = i end
end

local first = math.max(1, #fresh - most + 1)
local count = kept and redis.call('ZCARD', index) or 0
local id = count > 0 and oldest()
while id and (count + #fresh - first + 1 > most
    or not good(redis.call('HGET', records, '=' .. id), now)) do
  drop(id)
  count = count - 1
  id = count > 0 and oldest()
end

if #fresh == 0 then
  closeEmpty()
  return 0
end

local sequence = 0
if count > 0 then
  sequence = tonumber(redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2])
else
  redis.call('HSET', records, '!', mine)
end
local latest = '0'
for n = first, #fresh do
  local i = fresh[n]
  redis.call('HSET', records, '=' .. ARGV[i], ARGV[i + 1] .. ':' .. ARGV[i + 2])
  sequence = sequence + 1
  redis.call('ZADD', index, sequence, ARGV[i])
  if ARGV[i + 1] == '' then
    latest = ''
  elseif latest ~= '' and tonumber(ARGV[i + 1]) > tonumber(latest) then
    latest = ARGV[i + 1]
  end
end

-- The two keys live as long as the entry that lives longest.
local left = count > 0 and redis.call('PTTL', records) or 0
if latest == '' then
  redis.call('PERSIST', index)
  redis.call('PERSIST', records)
elseif count == 0 or left >= 0 and tonumber(latest) > now + left then
  redis.call('PEXPIREAT', index, latest)
  redis.call('PEXPIREAT', records, latest)
end
return #fresh - first + 1
