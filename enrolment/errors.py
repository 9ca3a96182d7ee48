"""Why a certificate is not given: one reason each."""

from grpc import StatusCode

from chassis.errors import NightherdError


class BodyError(NightherdError):
    """The body is no JSON object with the fields that are needed."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "NOT_JSON"


class OversizeError(NightherdError):
    """The body is above the limit."""

    code = StatusCode.OUT_OF_RANGE
    reason = "BODY_OVERSIZE"


class SlowBodyError(NightherdError):
    """The body does not come."""

    code = StatusCode.DEADLINE_EXCEEDED
    reason = "BODY_TOO_SLOW"


class TooOftenError(NightherdError):
    """One address asks too often."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_OFTEN"


class NonceError(NightherdError):
    """The nonce is not one of ours, was used, or is too old."""

    code = StatusCode.FAILED_PRECONDITION
    reason = "NONCE_NOT_IN_FORCE"


class BadCertificateError(NightherdError):
    """What was sent as a certificate is none."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "BAD_CERTIFICATE"


class BadRequestError(NightherdError):
    """The signing request (CSR) is none, or its key cannot be used."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "BAD_SIGNING_REQUEST"


class BadSigningKeyError(NightherdError):
    """What was sent as the key that signs batches is none."""

    code = StatusCode.INVALID_ARGUMENT
    reason = "BAD_SIGNING_KEY"


class ForeignCertificateError(NightherdError):
    """Another authority issued the certificate."""

    code = StatusCode.PERMISSION_DENIED
    reason = "FOREIGN_CERTIFICATE"


class BadProofError(NightherdError):
    """Whoever asks does not show that they have the certificate's key."""

    code = StatusCode.PERMISSION_DENIED
    reason = "BAD_PROOF"


class WrongRoleError(NightherdError):
    """The certificate is not a host's."""

    code = StatusCode.PERMISSION_DENIED
    reason = "NOT_A_HOST"


class RevokedError(NightherdError):
    """The host was revoked."""

    code = StatusCode.PERMISSION_DENIED
    reason = "HOST_REVOKED"


class TooOldError(NightherdError):
    """The certificate ended too long ago."""

    code = StatusCode.PERMISSION_DENIED
    reason = "EXPIRED_TOO_LONG_AGO"


class TokenUnknownError(NightherdError):
    """Nobody made this token."""

    code = StatusCode.PERMISSION_DENIED
    reason = "TOKEN_UNKNOWN"


class TokenUsedError(NightherdError):
    """The token has enrolled a host already."""

    code = StatusCode.PERMISSION_DENIED
    reason = "TOKEN_USED"


class TokenExpiredError(NightherdError):
    """The token was not used in time."""

    code = StatusCode.PERMISSION_DENIED
    reason = "TOKEN_EXPIRED"
