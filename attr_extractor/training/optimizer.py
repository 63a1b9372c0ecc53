"""Adam and AdamW with one fused update per variable, and a rate and a decay per variable.

Keras' own update has some twenty ops per variable: for 230 variables, several seconds of tracing
and a tenth of a small network's step. TensorFlow's ApplyAdam kernel is one op. It needs the moments
that the base class creates: both Keras versions keep them in the protected lists `_momentums` and
`_velocities`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from attr_extractor.model import keras_versions
from attr_extractor.model.keras_versions import tf_variable


class Group(NamedTuple):
    """Learning rate and weight decay of a variable."""

    rate: float = 1.0  # times the learning rate
    decay: float = 0.0  # share of the variable that a step subtracts, times its learning rate


class FusedAdamW(keras.optimizers.Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), bias-corrected.

    Args:
      learning_rate: a number or a schedule.
      group: returns the group of a variable of the model that the optimizer is built on.
    """

    def __init__(self, learning_rate: Any, group: Callable[[Any], Group], **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self._group_of = group
        self._groups: list[Group] = []

    def build(self, var_list: list[Any]) -> None:
        """Create the two moments of each variable.

        Keras calls this again at each trace, then with the variables that are not frozen; the
        positions stay those of the first call.
        """
        super().build(var_list)
        if not self._groups:
            self._groups = [self._group_of(variable) for variable in var_list]

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any = None) -> None:
        """Update one variable; Keras 3 passes the learning rate, Keras 2 does not."""
        rate = tf.cast(self.learning_rate if learning_rate is None else learning_rate, tf.float32)
        i = keras_versions.slot(self, variable)
        group = self._groups[i]
        rate = rate * group.rate
        step = tf.cast(self.iterations + 1, tf.float32)
        if group.decay:
            variable.assign_sub(rate * group.decay * variable)
        tf.raw_ops.ResourceApplyAdam(
            var=tf_variable(variable).handle,
            m=tf_variable(self._momentums[i]).handle,
            v=tf_variable(self._velocities[i]).handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),  # that of an embedding is in slices
        )


def steps_done(optimizer: Any) -> int:
    """Return the number of an optimizer's updates; `int` alone cannot read a mirrored variable."""
    return int(tf.convert_to_tensor(optimizer.iterations))
