"""From uint8 pixels to answers: augmentation, trunk, attention, branches, loss, metrics, answers.

Shape letters: B batch, H W pixels, N positions of the last feature map, D its channels,
T attributes, V values of all attributes.
"""
