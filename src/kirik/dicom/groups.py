"""Functional groups (DICOM PS3.3 C.7.6.16): what a file says of each of its frames."""

from pydicom import Dataset

from kirik.dicom.parsing import FRAMES_GROUPS, SHARED_GROUPS, bound_sequences, first_items

MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": (
        *("RescaleSlope", "RescaleIntercept"),
        "ModalityLUTSequence",
    ),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
}
"""Of each group that a reading looks at, the elements of the data set whose place it takes, all of
them, whichever it has: a window is another one with another's function."""


def lay_shared_groups(dataset: Dataset) -> None:
    """Let what the groups say that all frames share be said by the data set itself.

    This and `of_frame` raise nearly anything for damaged bytes.
    """
    if SHARED_GROUPS in dataset:
        for groups in dataset.pop(SHARED_GROUPS).value:
            _lay(groups, dataset)
        bound_sequences(dataset)


def frames_differ(dataset: Dataset) -> bool:
    """Whether frames may have groups of their own."""
    return FRAMES_GROUPS in dataset


def of_frame(dataset: Dataset, index: int) -> Dataset:
    """What a file says of its frame `index`, from 0: a copy of the data set, over which the frame's
    own groups are laid if it has any; the data set itself where no frame has."""
    if not frames_differ(dataset):
        return dataset
    told = dataset[:]
    for groups in dataset[FRAMES_GROUPS].value[index : index + 1]:
        _lay(groups, told)
    bound_sequences(told)
    return told


def _lay(groups: Dataset, told: Dataset) -> None:
    for macro, keywords in MACROS.items():
        for item in first_items(groups, macro, 1):
            filled = [word for word in keywords if word in item and item.get_item(word).value]
            for keyword in keywords if filled else ():
                told.pop(keyword, None)
                if keyword in filled:
                    told[keyword] = item.get_item(keyword)
