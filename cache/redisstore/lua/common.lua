-- What all scripts begin with. A key of the store is two keys of Redis:
--
--   KEYS[1]  index    sorted set   id -> sequence, the newest has the highest
--   KEYS[2]  records  hash         "=" .. id -> expiry .. ":" .. value
--                                  "!" -> the life that they belong to
--
-- The expiry is in milliseconds since 1970, or nothing for never.
--
--   ARGV[1]  "life" if entries end with the server's life, or "survive"

local index, records = KEYS[1], KEYS[2]

-- primary is what the server says of itself, and an error unless it is one: a
-- replica may be writable, and has what its primary hands out.
local function primary()
  local said = redis.call('INFO', 'replication')
  if not string.find(said, 'role:master', 1, true) then
    error({err = 'READONLY redisstore: the server is a replica'})
  end
  return said
end

-- life is a name that a server takes when it starts and again when it is
-- promoted, and that it never has a second time: the replication ID. It is no
-- part of the data, so what comes from a file or from another server belongs
-- to a life that is over.
local function life(said)
  if ARGV[1] == 'survive' then return 'survive' end
  local id = string.match(said, 'master_replid:(%x+)')
  return id or error('redisstore: INFO replication tells no master_replid')
end

-- whole reports whether there are entries and all of them are of this life.
-- Redis may have evicted one of the two keys and left the other.
local function whole(mine)
  local n, all = redis.call('ZCARD', index), redis.call('HLEN', records)
  return n > 0 and all == n + 1 and redis.call('HGET', records, '!') == mine
end

-- discard removes what is left when it is not whole.
local function discard()
  if redis.call('EXISTS', index, records) > 0 then
    redis.call('UNLINK', index, records)
  end
end

-- closeEmpty removes the records' key with the last of them.
local function closeEmpty()
  if redis.call('ZCARD', index) == 0 then redis.call('UNLINK', records) end
end

local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- good is for a record, or only for an expiry and a colon.
local function good(record, now)
  local expiry = record and string.match(record, '^(-?%d*):')
  if not expiry or expiry == '' then return expiry end
  local ms = tonumber(expiry)
  return ms and ms > now
end

-- missingReplicas is an error if fewer replicas than ARGV[2] are connected: what
-- they cannot hear of is not to be removed.
local function missingReplicas(said)
  local wanted = tonumber(ARGV[2])
  local there = tonumber(string.match(said, 'connected_slaves:(%d+)')) or 0
  if there < wanted then
    return redis.error_reply('ERR redisstore: ' .. there .. ' of ' .. wanted .. ' replicas are connected')
  end
end
