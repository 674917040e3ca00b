#!/bin/sh
# Stands where a Python with the frameworks would, called as `-m tensorlet.publish.converters.NAME STEP FOLDER`.
# It "converts" by copying $PREPARED/STEP into FOLDER. FAKE_CRASH, FAKE_MISSING and FAKE_WRONG name a step.
step=$3
folder=$4
refuse() { printf '%s' "$1" > "$folder/reason.txt"; exit 1; }

[ -z "$AWS_SECRET_ACCESS_KEY" ] || refuse "the converter was given credentials"
[ "$FAKE_CRASH" != "$step" ] || kill -SEGV $$
[ "$FAKE_MISSING" != "$step" ] || refuse "no module named 'thing': install tensorlet[train]"
[ "$FAKE_WRONG" != "$step" ] || step="$step-wrong"
cp -R "$PREPARED/$step/." "$folder"
