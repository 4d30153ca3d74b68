-- Whether no tag of a value was invalidated since it was computed: `tags` as the entry keeps them, "tag=version tag=version", at most
-- 16. A version that is gone, since the server has evicted it, says nothing: then the value does not hold.
local function tags_hold(tags, begin)
  if begin ~= '' then
    for tag, version in string.gmatch(tags, '(%S+)=(%d+)') do
      if redis.call('GET', begin .. tag) ~= version then
        return false
      end
    end
  end
  return true
end
