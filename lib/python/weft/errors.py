# SPDX-License-Identifier: MPL-2.0
"""Exceptions. Each error of docs/ERRORS.md is a class of its own (`weft.errors.NotLeaderError`), all of them are WeftErrors, and
what to do is asked of the class, never of a list of names: `error.retriable`, `error.error_class`, `error.outcome`.

Names of kafka.errors that mean the same are here, too, so that an `except` clause goes on to work."""
from typing import Optional

from . import _errors
from ._errors import *  # noqa: F401,F403
from ._errors import BY_NUMBER, WeftError


class LoneRecordTooLargeError(_errors.RecordTooLargeError, _errors.BatchTooLargeError):
    """One record makes a batch that is larger than the topic, or the node, takes."""

    sentence = "The record makes a batch that is larger than max.batch.bytes of the topic; send smaller ones or raise it."


class NoError(WeftError):
    """It went well."""

    errno, name, error_class, outcome, sentence = 0, "NONE", "none", "applied", "No error."


class IllegalStateError(WeftError):
    """The call does not fit what was called before."""

    name, error_class, outcome = "ILLEGAL_STATE", "permanent", "not_applied"
    sentence = "The call does not fit what was called before."


class CommitFailedError(WeftError):
    """Offsets were not committed because another member of the group has the partition by now."""

    errno, name, error_class, outcome = _errors.FencedError.errno, "FENCED", "permanent", "not_applied"
    sentence = "Offsets were not committed: another member of the group has the partition by now."


class WakeupError(WeftError):
    """Another thread called wakeup() while this one waited."""

    name, error_class, outcome = "WAKEUP", "permanent", "not_applied"
    sentence = "Another thread called wakeup()."


KafkaError = BrokerResponseError = WeftError
KafkaTimeoutError = _errors.LocalTimedOutError
NoBrokersAvailable = _errors.LocalNotConnectedError
KafkaConnectionError = _errors.LocalNotConnectedError
RequestTimedOutError = _errors.TimedOutError
UnknownTopicOrPartitionError = _errors.UnknownTopicError
NotLeaderForPartitionError = _errors.NotLeaderError
TopicAlreadyExistsError = _errors.TopicExistsError
InvalidReplicationFactorError = _errors.InvalidReplicationError
InvalidConfigurationError = _errors.InvalidConfigError
MessageSizeTooLargeError = _errors.RecordTooLargeError
GroupIdNotFoundError = _errors.UnknownGroupError
NonEmptyGroupError = _errors.GroupNotEmptyError
InvalidGroupIdError = _errors.InvalidGroupError
UnknownMemberIdError = _errors.UnknownMemberError
FencedInstanceIdError = _errors.FencedMemberError
OffsetMetadataTooLargeError = _errors.MetadataTooLargeError
CorruptRecordError = _errors.BadCrcError
CorruptRecordException = _errors.BadCrcError
UnsupportedCodecError = UnsupportedCompressionTypeError = _errors.UnsupportedCompressionError
KafkaUnavailableError = _errors.LocalNotConnectedError
NodeNotReadyError = NetworkExceptionError = _errors.LocalNotConnectedError
LeaderNotAvailableError = _errors.NotLeaderError
CoordinatorNotAvailableError = GroupCoordinatorNotAvailableError = _errors.CoordinatorUnavailableError
CoordinatorLoadInProgressError = GroupLoadInProgressError = _errors.CoordinatorLoadingError
NotCoordinatorForGroupError = NotControllerError = _errors.NotCoordinatorError
IllegalGenerationError = _errors.FencedMemberError
GroupMaxSizeReachedError = _errors.GroupFullError
InconsistentGroupProtocolError = _errors.UnsupportedAssignorError
RecordListTooLargeError = _errors.BatchTooLargeError
InvalidReplicationAssignmentError = _errors.InvalidReplicationError
KafkaConfigurationError = _errors.InvalidOptionError
IllegalArgumentError = _errors.InvalidArgumentError
KafkaStorageError = _errors.DiskFailedError
OutOfOrderSequenceNumberError = _errors.OutOfOrderSequenceError
DuplicateSequenceNumberError = _errors.DuplicateSequenceError
UnknownProducerIdError = _errors.UnknownProducerError
InvalidProducerEpochError = _errors.ProducerFencedError
FencedLeaderEpochError = _errors.StaleEpochError
UnknownLeaderEpochError = _errors.UnknownEpochError
UnknownTopicIdError = _errors.TopicReplacedError
NoReassignmentInProgressError = _errors.NoReassignmentError
EligibleLeadersNotAvailableError = _errors.NoEligibleLeaderError
UnknownError = _errors.InternalError


class NoOffsetForPartitionError(_errors.OffsetOutOfRangeError):
    """There is no offset to begin at, and auto_offset_reset is 'none'."""

    sentence = "There is no offset to begin at, and auto_offset_reset is 'none'; seek to one."


def of_number(number: int, message: Optional[str] = None) -> WeftError:
    """The exception for an error number of a reply; one that this package does not know is taken for INTERNAL."""
    return BY_NUMBER.get(number, _errors.InternalError)(message or None)


def for_code(number: int) -> type:
    """The class of an error number, as kafka.errors.for_code."""
    return NoError if number == 0 else BY_NUMBER.get(number, _errors.InternalError)
