"""A package that is missing is told with how to install it, quoted as every shell takes it."""

from __future__ import annotations

import pytest

from millstream.errors import UsageError
from millstream.extras import import_extra


def test_a_missing_package_is_told_with_how_to_install_it() -> None:
    with pytest.raises(UsageError, match=r"^Kafka needs the package x: pip install 'millstream\[kafka\]'$"):
        import_extra("no_such_module_of_anybody", "kafka", "Kafka needs the package x")


def test_a_package_that_is_there_is_imported() -> None:
    assert import_extra("json.decoder", "x", "x").JSONDecoder
