"""Tests of `doctor`: a missing or wrong package is named, and a broken TensorFlow is reported."""

from __future__ import annotations

import numpy as np
import pytest
from packaging.requirements import Requirement

from attr_extractor import doctor
from attr_extractor.programs import doctor as program


def test_a_requirement_is_met_missing_or_of_another_version():
    assert doctor.problem_of(Requirement("numpy")) == ""
    assert doctor.problem_of(Requirement("no-such-package>1")) == "no-such-package is not installed"
    wrong = f"numpy {np.__version__} is installed, <1.0 is required"
    assert doctor.problem_of(Requirement("numpy<1.0")) == wrong


def test_a_package_that_is_not_installed_is_broken(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGE", "no-such-package")
    (check,) = doctor._packages()
    assert check.is_broken and check.found.startswith("no-such-package is not installed")


def test_a_tensorflow_that_cannot_be_imported_is_broken(monkeypatch, tmp_path, capsys):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libfoo.so: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "BROKEN" in line)
    assert "TensorFlow" in line and "libfoo.so: no such file" in line
