"""Commands with all their parameters in one write."""

from __future__ import annotations

import pytest

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.groups.one_put import Options, one_of, read_command, selection, yes_or_no

OPTIONS: Options = {"filter": selection, "mode": one_of(("Changed", "All")), "dry": yes_or_no, "comment": str}


def test_words_and_options() -> None:
    words, options = read_command("""42 filter="QUAD:* @Magnet" mode=ALL dry=no comment='it"s'""", 1, OPTIONS)
    assert words == ["42"]
    assert options == {"filter": "QUAD:* @Magnet", "mode": 1, "dry": False, "comment": 'it"s'}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('42 filter="QUAD:*', "a quote is not closed"),
        ("42 dry=perhaps", "dry: 'perhaps' is neither yes nor no"),
        ("42 mode=some", "mode: 'some' is none of changed, all"),
        ("42 dry_run=yes", "dry_run is no option"),
        ("42 filter=", "filter: it has no value"),
        ("42 fliter=X", "fliter is no option, there are filter, mode, dry, comment"),
        ("42 filter=~(", "filter: "),
        ("42 43", "'43' is one word too many"),
        ("42 dry=yes dry=no", "dry is given twice"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match="^" + reason.replace("(", r"\(")):
        read_command(text, 1, OPTIONS)
