-- For the expanded scripts: what a Redis script may use, and nothing else.
std = "none"
read_globals = {
  "ARGV", "KEYS", "redis",
  "ipairs", "pairs", "tonumber", "tostring", "unpack",
  math = { fields = { "ceil", "floor", "max", "min" } },
  string = { fields = { "byte", "char", "find", "format", "gmatch", "gsub", "match", "sub" } },
  table = { fields = { "concat", "sort" } },
}
max_line_length = 150
