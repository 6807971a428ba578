"""The Lua scripts of ``RedisDirectory``: each one step on the hash of a user or on a session.

A user's hash has ``c:`` + connection id → node, ``r:`` + token → end of a reservation, ``n`` → the
number of the last change, ``s`` → ``1`` or ``0``: the status that was announced last. A token is
hexadecimal digits, ``:`` and the node. A session is a sorted set of members
``user\\0node\\0connection\\0username``, in the order of bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from wsserver.cluster.redis.lua import NOW

Command = tuple[str | bytes | int, ...]
"""A command for Redis and its arguments."""

_COUNT = """
local count, reserved, owned, pending = 0, 0, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local kind = string.sub(all[i], 1, 2)
  if kind == 'c:' and not lost[all[i + 1]] then
    count = count + 1
    owned[#owned + 1] = string.sub(all[i], 3)
    owned[#owned + 1] = all[i + 1]
  elseif kind == 'r:' then
    local node = string.match(all[i], '^r:%x+:(.*)$')
    if tonumber(all[i + 1]) <= now then redis.call('HDEL', KEYS[1], all[i])
    elseif not (node and lost[node]) then
      reserved = reserved + 1
      if node then
        pending[#pending + 1] = all[i]
        pending[#pending + 1] = node
      end
    end
  end
end
"""


def _lost_from(first: int) -> str:
    return f"local lost = {{}}\nfor i = {first}, #ARGV do lost[ARGV[i]] = true end\n"


# KEYS: a user's hash. ARGV: limit, token, ms of a reservation, lost nodes
RESERVE = (
    NOW
    + _lost_from(4)
    + _COUNT
    + """
if count + reserved >= tonumber(ARGV[1]) then
  for i = 1, #pending do owned[#owned + 1] = pending[i] end
  return owned
end
redis.call('HSET', KEYS[1], 'r:' .. ARGV[2], string.format('%d', now + ARGV[3]))
redis.call('PERSIST', KEYS[1])
return 1
"""
)
OPEN, QUIET, ENTER, SETTLE_OFFLINE, SETTLE_ONLINE = "open", "quiet", "enter", "was0", "was1"
"""Modes of ``CHANGE``: announce; leave the status as it is; enter again what Redis may have lost;
announce what has changed since the status was offline or online, if Redis lacks it."""
# KEYS: a user's hash. ARGV: mode, connection or '', node or '' for its end, token,
# s to remember, lost nodes
CHANGE = (
    NOW
    + _lost_from(6)
    + """
if ARGV[2] ~= '' then
  if ARGV[3] == '' then redis.call('HDEL', KEYS[1], 'c:' .. ARGV[2])
  else redis.call('HSET', KEYS[1], 'c:' .. ARGV[2], ARGV[3]) end
end
if ARGV[4] ~= '' then redis.call('HDEL', KEYS[1], 'r:' .. ARGV[4]) end
"""
    + _COUNT
    + """
local mode, became = ARGV[1], ''
local status = redis.call('HGET', KEYS[1], 's')
if not status and mode == 'was1' then status = '1' end
if mode ~= 'quiet' then
  if count > 0 and status ~= '1' then
    local is_new = mode == 'open' and ARGV[3] ~= '' or mode == 'was0'
    if status == '0' or is_new then became = 'online' end
  elseif count == 0 and status == '1' then became = 'offline' end
  -- Without a status Redis may have been emptied: an end says nothing of the other nodes.
  if status or mode ~= 'open' or ARGV[3] ~= '' then
    redis.call('HSET', KEYS[1], 's', count > 0 and '1' or '0')
  end
end
local number = math.max(tonumber(redis.call('HGET', KEYS[1], 'n') or '0') + 1, now)
redis.call('HSET', KEYS[1], 'n', string.format('%d', number))
if count + reserved == 0 then redis.call('EXPIRE', KEYS[1], ARGV[5])
else redis.call('PERSIST', KEYS[1]) end
return {count, string.format('%d', number), became}
"""
)
# KEYS: a user's hash. ARGV: lost nodes
COUNT = NOW + _lost_from(1) + _COUNT + "return owned"
# KEYS: a session. ARGV: user, node, connection, username, '1' to join, lost nodes
SESSION = (
    _lost_from(6)
    + """
local user, member = ARGV[1] .. '\\0', ARGV[1] .. '\\0' .. ARGV[2] .. '\\0' .. ARGV[3]
redis.call('ZREMRANGEBYLEX', KEYS[1], '[' .. member .. '\\0', '(' .. member .. '\\1')
if ARGV[5] == '1' then redis.call('ZADD', KEYS[1], 0, member .. '\\0' .. ARGV[4]) end
local count = 0
for _, each in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. user, '(' .. ARGV[1] .. '\\1')) do
  local ends = string.find(each, '\\0', #user + 1, true)
  if not lost[string.sub(each, #user + 1, ends - 1)] then count = count + 1 end
end
return count
"""
)
# KEYS: users by time. ARGV: users
DEPART = (
    NOW
    + """
for i = 1, #ARGV do redis.call('ZADD', KEYS[1], now, ARGV[i]) end
return 0
"""
)
# KEYS: users by time. ARGV: ms since then, maximum
DUE_DEPARTED = (
    NOW
    + """
return redis.call('ZRANGE', KEYS[1], '-inf', now - ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2],
                  'WITHSCORES')
"""
)
# KEYS: users by time. ARGV: each user and its time, as DUE_DEPARTED has answered
FORGET_DEPARTED = """
for i = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return 0
"""
SCRIPTS = (RESERVE, CHANGE, COUNT, SESSION, DEPART, DUE_DEPARTED, FORGET_DEPARTED)
_DIGESTS = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest() for script in SCRIPTS
}


def call(script: str, key: str, args: Sequence[str | bytes | int]) -> Command:
    """The command that runs a script, which is loaded already, on a key."""
    return ("EVALSHA", _DIGESTS[script], 1, key, *args)
