-- ARGV[2]  how many replicas must be there to hear of it
-- ARGV[3]  id
-- returns  1 if it was there

if redis.call('EXISTS', index, records) == 0 then return 0 end
local said = primary()
local missing = missingReplicas(said)
if missing then return missing end
if not whole(life(said)) then
  discard()
  return 0
end
if redis.call('ZREM', index, ARGV[3]) == 0 then return 0 end
local record = redis.call('HGET', records, '=' .. ARGV[3])
redis.call('HDEL', records, '=' .. ARGV[3])
closeEmpty()
return good(record, milliseconds()) and 1 or 0
