"""A teacher's loss: least for the student that says what the teacher says."""

import numpy as np
import torch

from kirik.training.balance import real_shares, trained_shares
from kirik.training.distil import Teacher
from kirik.training.machine import find_machine
from kirik.training.networks import Output


class Known(Teacher):
    """A teacher whose answers are given."""

    def __init__(self, probabilities, evidence, machine):
        self._machine, self._said = machine, (probabilities, evidence)

    def _ask(self, radiographs):
        return self._said


class Student:
    """All of a student that a teacher looks at."""

    def __init__(self, prior_shift):
        self.prior_shift = prior_shift


def said(logits, evidence=None):
    return Output(logits, None, evidence, None, None, None, None)


RADIOGRAPHS = torch.zeros(2, 1, 64, 64)


def test_the_loss_is_least_where_student_and_teacher_agree(settings):
    probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    teacher = Known(probabilities, None, find_machine(settings))
    student = Student(torch.zeros(2))
    right = teacher.loss(student, said(probabilities.log()), RADIOGRAPHS)
    for wrong in (torch.zeros(2, 2), probabilities.flip(1).log(), 3 * probabilities.log()):
        assert teacher.loss(student, said(wrong), RADIOGRAPHS) > right


def test_balancing_is_taken_out_before_they_are_compared(settings):
    """A student of balanced classes agrees when it overstates the rare class as balancing does."""
    labels = np.array([0] * 80 + [1] * 20)
    real, trained = real_shares(labels, 2), trained_shares(labels, 2, "sampler")
    probabilities = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    teacher = Known(probabilities, None, find_machine(settings))
    student = Student(torch.from_numpy(np.log(real / trained)).float())
    balanced = probabilities.log() - student.prior_shift
    right = teacher.loss(student, said(balanced), RADIOGRAPHS)
    assert teacher.loss(student, said(probabilities.log()), RADIOGRAPHS) > right


def test_maps_of_other_sizes_are_compared_too(settings):
    evidence = torch.full((2, 1, 16, 16), 0.01)
    evidence[:, :, :8] = 0.99
    teacher = Known(torch.full((2, 2), 0.5), evidence, find_machine(settings))
    like = torch.where(evidence[..., ::2, ::2] > 0.5, 4.6, -4.6)
    losses = [
        teacher.loss(Student(torch.zeros(2)), said(torch.zeros(2, 2), e), RADIOGRAPHS)
        for e in (like, torch.zeros_like(like), -like)
    ]
    assert losses == sorted(losses)
    assert losses[0] < losses[1]
