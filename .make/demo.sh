#!/bin/sh
# Ingest DOCS, answer QUERIES, say where the results are. Called by `make demo`, which exports
# DOCS, QUERIES, DB and OUT.
set -eu

# A folder for each DOCS, told apart by its whole path, so that two runs never mix.
docs=$(cd "$(dirname -- "$DOCS")" 2>/dev/null && pwd)/$(basename -- "$DOCS")
place=demo/$(basename -- "$DOCS")-$(printf %s "$docs" | cksum | cut -d ' ' -f 1)
db=${DB:-$place/db}
out=${OUT:-$place/results}
mkdir -p "$place"

# Exit codes of patchlight that leave results worth showing: 4, done with failures, which are set
# aside; 5, done without some pictures. Any other stops here.
notes=
step() {
    code=0
    .venv/bin/patchlight "$@" || code=$?
    case $code in
        0) ;;
        4) notes="$notes
  $1: done with failures, which were set aside (exit code 4); see above" ;;
        5) notes="$notes
  $1: done without some pictures (exit code 5); see above" ;;
        *) exit "$code" ;;
    esac
}
step ingest "$DOCS" --db "$db"
step query "$QUERIES" --db "$db" --out "$out" --overlays

echo
echo "Database: $db"
echo "Results:  $out"
find "$out" -type f ! -name '*.png' ! -path '*.lance/*' | sort | sed 's/^/  /'
pictures=$(find "$out" -type f -name '*.png' | sort)
echo "Pictures: $(printf '%s' "$pictures" | grep -c .)"
printf '%s\n' "$pictures" | sed -n -e 's/^./  &/' -e '1,10p' -e '11s/.*/  .../p'
[ -z "$notes" ] || echo "Not everything went well:$notes"
