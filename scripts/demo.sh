#!/bin/sh
# The whole job, each step a command of kirik's that is printed before it runs.
# DATA: a folder of FracAtlas (phantoms are made where it is empty). WEIGHTS: as for `kirik train`;
# where it is empty, a folder ../shared/weights; else FracAtlas takes the hub, phantoms nothing.
set -eu

out=demo
whole() { (CDPATH='' cd -- "$1" && pwd -P); }  # not realpath -m, which GNU's alone knows
given=$(whole "${DATA:-.}")
if [ -d "$out" ]; then
    case $given/ in
    "$(whole "$out")"/*)
        echo "DATA=$DATA lies in ./$out, which every demo makes anew; move it first" >&2
        exit 2
        ;;
    esac
fi
rm -rf "$out"
mkdir -p "$out"
export KIRIK_CACHE="$out/cache"

step() {
    printf '\n$ kirik'
    printf ' %s' "$@"
    printf '\n'
    kirik "$@"
}

if [ -n "${DATA:-}" ]; then
    data=$DATA
    split=fracatlas-v1
else
    data=$out/phantoms
    split=$out/split.csv
    step data phantoms "$data" --count 800 --size 300 --seed 1 --fractured-share 0.4
fi

step data audit "$data" --json "$out/audit.json" --html "$out/audit.html" --language "$LANGUAGE"
[ -n "${DATA:-}" ] || step data split "$data" --out "$split" --seed 1
step data check-split "$split" "$data"
step data augment-preview "$data" --out "$out/augment.png" --language "$LANGUAGE"

weights=${WEIGHTS:-}
[ -n "$weights" ] || [ ! -d ../shared/weights ] || weights=../shared/weights
set -- train "$data" --split "$split" --fold 1 --balance autoaugment --out "$out/mobilenet" \
    --language "$LANGUAGE"
if [ -n "${DATA:-}" ]; then
    step "$@" --network mobilenet --weights "${weights:-hub}"
    # Three radiographs that the run neither trained on nor chose with: of the fold left out.
    set -- predict
    for id in $(sed -n '2p;3p;4p' "$out/mobilenet/report/predictions.csv" | cut -d, -f1); do
        set -- "$@" "$(find "$data/images" -name "$id")"
    done
else
    if [ -n "$weights" ]; then
        step "$@" --network mobilenet --weights "$weights" --size 224 --epochs 5
    else
        # From nothing, a MobileNet of half the width and many short epochs: it sees what there
        # is to see, but five times the epochs would see it better.
        step "$@" --network mobilenetv2_050 --weights none --size 224 --epochs 16 \
            --batch-size 16 --learning-rate 0.003 --ema 0.9 --patience 16
    fi
    step data phantoms "$out/new" --count 3 --seed 99 --size 300 --fractured-share 0.67 \
        --image-format mixed
    set -- predict "$out/new/images"
fi
step "$@" --model "$out/mobilenet" --json "$out/readings.json" --csv "$out/readings.csv" \
    --overlay "$out/overlays" --language "$LANGUAGE"

cat <<END

What was made:
  $out/audit.html              what is in the data set, and what is wrong with it
  $out/augment.png             radiographs beside their AutoAugment copies
  $out/mobilenet/report/report.html  how good the classifier is, with intervals
  $out/mobilenet/bundle        the classifier
  $out/readings.json, .csv     the readings of new radiographs; pictures in $out/overlays
END
