#!/bin/sh
# The whole job, each step a command of kirik's that is printed before it runs.
# DATA: a data set (phantoms are made where it is empty); WEIGHTS: see `kirik train --help`.
set -eu

out=demo
rm -rf "$out"
mkdir -p "$out"
export KIRIK_CACHE="$out/cache" HF_HUB_DISABLE_TELEMETRY=1

step() {
    printf '\n$ kirik %s\n' "$*"
    kirik "$@"
}

if [ -n "${DATA:-}" ]; then
    data=$DATA
    weights=${WEIGHTS:-hub}
    quick=
else
    data=$out/phantoms
    weights=${WEIGHTS:-none}
    # Phantoms are easy and few: a small input and a fast rate are enough.
    quick="--size 224 --epochs 12 --learning-rate 0.002 --patience 12"
    step data phantoms "$data" --count 480 --seed 1
fi

step data audit "$data" --json "$out/audit.json" --html "$out/audit.html" --language "$LANGUAGE"
if [ -f "$data/dataset.csv" ] && [ -n "${DATA:-}" ]; then
    split=fracatlas-v1
else
    split=$out/split.csv
    step data split "$data" --out "$split" --seed 1
fi
step data check-split "$split" "$data"
step data augment-preview "$data" --out "$out/augment.png"
# shellcheck disable=SC2086
step train "$data" --network mobilenet --weights "$weights" --split "$split" --fold 1 \
    --balance autoaugment --out "$out/run" --language "$LANGUAGE" $quick
if [ -n "${DATA:-}" ]; then
    new=$(find "$data/images/Fractured" -type f | sort | head -n 3)
else
    step data phantoms "$out/new" --count 3 --seed 99 --fractured-share 0.67 --image-format mixed
    new=$out/new/images
fi
# shellcheck disable=SC2086
step predict $new --model "$out/run" --json "$out/readings.json" --csv "$out/readings.csv" \
    --overlay "$out/overlays" --language "$LANGUAGE"

cat <<END

What was made:
  $out/audit.html              what is in the data set, and what is wrong with it
  $split               who trains, who measures
  $out/augment.png             radiographs beside their AutoAugment copies
  $out/run/report/report.html  how good the classifier is, with intervals
  $out/run/bundle              the classifier
  $out/readings.json, .csv     the readings of new radiographs; pictures in $out/overlays
END
