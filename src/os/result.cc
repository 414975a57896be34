// Names and meanings of errors. It lives in os because the system's headers know the codes.
#include "warren/result.h"

#include <netdb.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/check.h"
#include "base/tls_names.h"
#include "os/platform.h"

namespace warren {
namespace {

struct CodeName {
  int code;
  std::string_view name;
};

#define WARREN_NAMED(code) \
  CodeName { code, #code }

// What calls about sockets, files and memory can answer. Where two names share a number (EAGAIN and
// EWOULDBLOCK, ENOTSUP and EOPNOTSUPP on Linux) the first one listed is its name. Names in #ifdef
// are those that some system lacks.
constexpr CodeName kErrnoNames[] = {
    WARREN_NAMED(E2BIG),
    WARREN_NAMED(EACCES),
    WARREN_NAMED(EADDRINUSE),
    WARREN_NAMED(EADDRNOTAVAIL),
    WARREN_NAMED(EAFNOSUPPORT),
    WARREN_NAMED(EAGAIN),
    WARREN_NAMED(EALREADY),
    WARREN_NAMED(EBADF),
    WARREN_NAMED(EBADMSG),
    WARREN_NAMED(EBUSY),
    WARREN_NAMED(ECANCELED),
    WARREN_NAMED(ECHILD),
    WARREN_NAMED(ECONNABORTED),
    WARREN_NAMED(ECONNREFUSED),
    WARREN_NAMED(ECONNRESET),
    WARREN_NAMED(EDEADLK),
    WARREN_NAMED(EDESTADDRREQ),
    WARREN_NAMED(EDOM),
    WARREN_NAMED(EDQUOT),
    WARREN_NAMED(EEXIST),
    WARREN_NAMED(EFAULT),
    WARREN_NAMED(EFBIG),
    WARREN_NAMED(EHOSTDOWN),
    WARREN_NAMED(EHOSTUNREACH),
    WARREN_NAMED(EILSEQ),
    WARREN_NAMED(EINPROGRESS),
    WARREN_NAMED(EINTR),
    WARREN_NAMED(EINVAL),
    WARREN_NAMED(EIO),
    WARREN_NAMED(EISCONN),
    WARREN_NAMED(EISDIR),
    WARREN_NAMED(ELOOP),
    WARREN_NAMED(EMFILE),
    WARREN_NAMED(EMLINK),
    WARREN_NAMED(EMSGSIZE),
    WARREN_NAMED(ENAMETOOLONG),
    WARREN_NAMED(ENETDOWN),
    WARREN_NAMED(ENETRESET),
    WARREN_NAMED(ENETUNREACH),
    WARREN_NAMED(ENFILE),
    WARREN_NAMED(ENOBUFS),
    WARREN_NAMED(ENODEV),
    WARREN_NAMED(ENOENT),
    WARREN_NAMED(ENOEXEC),
    WARREN_NAMED(ENOLCK),
    WARREN_NAMED(ENOMEM),
    WARREN_NAMED(ENOPROTOOPT),
    WARREN_NAMED(ENOSPC),
    WARREN_NAMED(ENOSYS),
    WARREN_NAMED(ENOTCONN),
    WARREN_NAMED(ENOTDIR),
    WARREN_NAMED(ENOTEMPTY),
    WARREN_NAMED(ENOTSOCK),
    WARREN_NAMED(EOPNOTSUPP),
    WARREN_NAMED(ENOTSUP),
    WARREN_NAMED(ENOTTY),
    WARREN_NAMED(ENXIO),
    WARREN_NAMED(EOVERFLOW),
    WARREN_NAMED(EPERM),
    WARREN_NAMED(EPFNOSUPPORT),
    WARREN_NAMED(EPIPE),
    WARREN_NAMED(EPROTO),
    WARREN_NAMED(EPROTONOSUPPORT),
    WARREN_NAMED(EPROTOTYPE),
    WARREN_NAMED(ERANGE),
    WARREN_NAMED(EROFS),
    WARREN_NAMED(ESHUTDOWN),
    WARREN_NAMED(ESOCKTNOSUPPORT),
    WARREN_NAMED(ESPIPE),
    WARREN_NAMED(ESRCH),
    WARREN_NAMED(ETIMEDOUT),
    WARREN_NAMED(ETOOMANYREFS),
    WARREN_NAMED(ETXTBSY),
    WARREN_NAMED(EUSERS),
    WARREN_NAMED(EWOULDBLOCK),
    WARREN_NAMED(EXDEV),
#ifdef ENONET
    WARREN_NAMED(ENONET),
#endif
#ifdef ENOSR
    WARREN_NAMED(ENOSR),
#endif
#ifdef ECOMM
    WARREN_NAMED(ECOMM),
#endif
};

constexpr CodeName kResolverNames[] = {
    WARREN_NAMED(EAI_AGAIN),      WARREN_NAMED(EAI_BADFLAGS), WARREN_NAMED(EAI_FAIL),
    WARREN_NAMED(EAI_FAMILY),     WARREN_NAMED(EAI_MEMORY),   WARREN_NAMED(EAI_NONAME),
    WARREN_NAMED(EAI_SERVICE),    WARREN_NAMED(EAI_SOCKTYPE), WARREN_NAMED(EAI_SYSTEM),
#ifdef EAI_OVERFLOW
    WARREN_NAMED(EAI_OVERFLOW),
#endif
#ifdef EAI_NODATA
    WARREN_NAMED(EAI_NODATA),
#endif
#ifdef EAI_ADDRFAMILY
    WARREN_NAMED(EAI_ADDRFAMILY),
#endif
#ifdef EAI_BADHINTS
    WARREN_NAMED(EAI_BADHINTS),
#endif
#ifdef EAI_PROTOCOL
    WARREN_NAMED(EAI_PROTOCOL),
#endif
#ifdef EAI_CANCELED
    WARREN_NAMED(EAI_CANCELED),
#endif
#ifdef EAI_INTR
    WARREN_NAMED(EAI_INTR),
#endif
#ifdef EAI_IDN_ENCODE
    WARREN_NAMED(EAI_IDN_ENCODE),
#endif
};

#undef WARREN_NAMED

constexpr std::string_view kStepNames[] = {
    "",     "start", "options",  "resolve", "socket",  "bind",  "listen",    "accept",  "connect",
    "read", "write", "shutdown", "linger",  "timeout", "proxy", "handshake", "handler", "signal",
};
static_assert(std::size(kStepNames) == static_cast<size_t>(Step::signal) + 1);

constexpr std::string_view kUsageNames[] = {
    "", "invalid", "outOfRange", "missing", "conflict", "closed", "ended", "tooMuch", "unsupported",
};
static_assert(std::size(kUsageNames) == static_cast<size_t>(Usage::unsupported) + 1);

std::string nameIn(std::span<const CodeName> names, int code, std::string_view prefix) {
  for (const CodeName& known : names) {
    if (known.code == code) return std::string(known.name);
  }
  return std::string(prefix) + std::to_string(code);
}

std::string usageName(int code) {
  const bool known = code > 0 && code < static_cast<int>(std::size(kUsageNames));
  return known ? std::string(kUsageNames[code]) : "E" + std::to_string(code);
}

// strerror_r comes in two kinds: the POSIX one fills the buffer and returns a number, the GNU one
// returns the text, which may be elsewhere. Overloading tells them apart.
[[maybe_unused]] std::string textOf(int failed, const char* buffer) {
  return failed == 0 ? buffer : "";
}
[[maybe_unused]] std::string textOf(const char* text, const char*) { return text; }

std::string errnoMeaning(int code) {
  std::array<char, 256> buffer{};
  return textOf(strerror_r(code, buffer.data(), buffer.size()), buffer.data());
}

std::string meaningOf(Origin origin, int code) {
  if (origin == Origin::kernel) return errnoMeaning(code);
  if (origin == Origin::resolver) return gai_strerror(code);
  return {};
}

}  // namespace

Error Error::thrown(std::exception_ptr exception, std::string detail) {
  Error error(Origin::handler, 0, Step::handler, std::move(detail));
  error.exception_ = std::move(exception);
  return error;
}

std::string Error::name() const {
  switch (origin_) {
    case Origin::none:
      return {};
    case Origin::usage:
      return usageName(code_);
    case Origin::kernel:
      return nameIn(kErrnoNames, code_, "E");
    case Origin::resolver:
      return nameIn(kResolverNames, code_, "EAI_");
    case Origin::tls:
      return base::tlsName(code_);
    case Origin::handler:
      return "exception";
  }
  return {};
}

std::string Error::message() const {
  if (origin_ == Origin::none) return {};
  std::string line(stepName(step_));
  const auto add = [&line](std::string_view part) {
    if (!line.empty() && !part.empty()) line += ": ";
    line += part;
  };
  add(detail_);
  // What we and the user's own exceptions say is said in words; codes of others need their name.
  const bool inWords = origin_ == Origin::usage || origin_ == Origin::handler;
  if (inWords && !detail_.empty()) return line;
  add(name());
  const std::string meaning = meaningOf(origin_, code_);
  if (!meaning.empty()) line += " (" + meaning + ")";
  return line;
}

std::string_view stepName(Step step) {
  const auto index = static_cast<size_t>(step);
  WARREN_CHECK(index < std::size(kStepNames));
  return kStepNames[index];
}

void detail::refuse(const Error& error) {
#if WARREN_EXCEPTIONS
  throw BadResult(error);
#else
  base::fatal(error.message().c_str());
#endif
}

}  // namespace warren
