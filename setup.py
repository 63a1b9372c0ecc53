"""Packages of the wheel; all other metadata is in setup.cfg."""

from setuptools import find_packages, setup

CONFIGS = ["attr_extractor.configs", "attr_extractor.configs.schemas"]
setup(
    packages=[*find_packages(include=["attr_extractor*"]), *CONFIGS],
    package_dir={"attr_extractor.configs": "configs"},
)
