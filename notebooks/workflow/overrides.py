"""`./run_all.sh --set`: keeps checked settings in a file for Snakemake, prints the changed profile's name and them as JSON.

python notebooks/workflow/overrides.py PROFILE KEY=VALUE ...
"""

import json
import sys

from r2d import paths, recipes
from r2d.errors import R2DError


def main(profile: str, *pairs: str) -> tuple[str, str]:
    """Write `logs/overrides.json` of the profile that these settings make; its name, and the settings as JSON."""
    overrides = recipes.settings_of(pairs)
    name = recipes.load(profile, overrides).profile
    folder = paths.runs(name) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(overrides)
    (folder / "overrides.json").write_text(json.dumps({"overrides": text}), encoding="utf-8")
    return name, text


if __name__ == "__main__":
    try:
        print(*main(*sys.argv[1:]), sep="\n")
    except R2DError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(
            f"{error.filename} cannot be written ({error.strerror}): free some disk space, or set R2D_HOME."
        )
