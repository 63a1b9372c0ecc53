"""A changed schema of the tests' shop, the mapping to it, and the expected result."""

from __future__ import annotations

NEW_SCHEMA = """
name: shop
category: category
missing_values: [NA]
columns: {neckline: Neckline}
attributes:
  - name: pocket
    values: [patch, welt]
  - name: color
    exclusive: false
    values: [blue, dark red, light red, black]
  - name: neckline
    applies_to: [top]
    values: [halter, crew, no neck, v-neck]
    synonyms: {v neck: v-neck}
  - name: category
    values: [jeans, top]
  - name: closure
    values_by_category: {jeans: [fastened]}
    values: [drawstring, fastened]
"""
MAPPING = """
attributes: {neckline: neck_type}
values:
  category: {top: [shirt]}
  neckline: {crew: [round neck]}
  color: {dark red: [red], light red: [red]}
  closure: {fastened: [button, zip]}
added: [pocket, color=black, neckline=halter]
removed: [color=green]
"""
# kept and renamed values: the new one's name by the old one's
SAME = {
    "category=shirt": "category=top",
    "category=jeans": "category=jeans",
    "neck_type=v-neck": "neckline=v-neck",
    "neck_type=round neck": "neckline=crew",
    "neck_type=no neck": "neckline=no neck",
    "color=blue": "color=blue",
    "closure=drawstring": "closure=drawstring",
}
MOVES = """\
values: 5 kept, 2 renamed, 1 merged, 2 split, 4 added, 1 removed
  pocket: added; 2 added
  color: 1 kept, 2 split, 1 added, 1 removed
  neckline: was neck_type; 2 kept, 1 renamed, 1 added
  category: 1 kept, 1 renamed
  closure: 1 kept, 1 merged"""

# two attributes that say the same of other categories, and two of several values, become one each
APART = """
name: shop
category: category
missing_values: [NA]
attributes:
  - name: category
    values: [shirt, dress]
  - name: shirt_neck
    applies_to: [shirt]
    values: [v-neck, round neck]
  - name: dress_neck
    applies_to: [dress]
    values: [v-neck, halter, strapless]
  - name: print
    exclusive: false
    values: [floral, plain]
  - name: motif
    applies_to: [dress]
    exclusive: false
    values: [floral, paisley]
"""
TOGETHER = """
name: shop
category: category
missing_values: [NA]
attributes:
  - name: category
    values: [shirt, dress]
  - name: neck
    values_by_category: {shirt: [v-neck, crew], dress: [v-neck, halter]}
    values: [v-neck, crew, halter]
  - name: pattern
    exclusive: false
    values_by_category: {shirt: [floral, plain]}
    values: [floral, plain, paisley]
"""
JOINED = """
attributes: {neck: [shirt_neck, dress_neck], pattern: [print, motif]}
values: {neck: {crew: [shirt_neck=round neck]}}
removed: [dress_neck=strapless]
"""
