# What a shell does without starting another program.
set -eu
total=0
for number in 1 2 3 4 5; do
    [ $((number % 2)) -eq 0 ] && continue
    total=$((total + number * number))
done
echo "total $total $((total << 2 | 1)) $((-7 / 2))"
while read -r name value; do
    case $name in
    a*) echo "first $name=$value" ;;
    [bc]) echo "second $name" ;;
    *) echo "other $name" ;;
    esac
done <<END
alpha 1
b 2
zeta $total
END
printf '%s|%5d|%-5s|%x\n' text 42 left 255 > "$1/out"
echo appended >> "$1/out"
while IFS= read -r line; do echo "<$line>"; done < "$1/out"
describe() { local what=${1:-nothing}; echo "${#what} ${what%.*} ${what##*.}"; return 3; }
describe archive.tar.gz || echo "status $?"
exec 3> "$1/three"; echo three >&3; exec 3>&-
read -r back < "$1/three"; echo "back $back"
test -d "$1" && test ! -e "$1/none" && cd "$1" && for file in *; do echo "$file"; done
trap 'echo trapped' USR1; kill -USR1 $$; trap 'echo leaving' EXIT
umask 027; umask
eval 'x=y; echo ${x}'; set -- one "two three"; echo $# "$2"
exit 6
