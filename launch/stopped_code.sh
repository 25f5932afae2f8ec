# shellcheck shell=bash
# `source launch/stopped_code.sh "$@"` sets `stopped`, the code of a run that was stopped and saved: 0, or what the flag
# --stopped_code says. As absl reads it: one dash or two, the value behind = or in the next place.
stopped=0
_before=
for _flag; do
  [[ $_before != *-stopped_code ]] || stopped=$_flag
  [[ ! $_flag =~ ^--?stopped_code= ]] || stopped=${_flag#*=}
  _before=$_flag
done
