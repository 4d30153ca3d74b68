-- Whether no tag of a value was invalidated since it was computed: `tags` as the entry keeps them, "tag=version tag=version", at most 16.
local function tags_hold(tags, begin)
  if begin ~= '' then
    for tag, version in string.gmatch(tags, '(%S+)=(%d+)') do
      if (redis.call('GET', begin .. tag) or version) ~= version then
        return false
      end
    end
  end
  return true
end
