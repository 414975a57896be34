#include "warren/handover.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "os/fd.h"
#include "os/platform.h"
#include "os/sys.h"

namespace warren {

namespace {

constexpr int kFirstInherited = 3;  // SD_LISTEN_FDS_START
constexpr size_t kMaxName = 255;

Error kernelError(int error, std::string what) {
  return {Origin::kernel, error, Step::socket, std::move(what)};
}

std::optional<int> parseNumber(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && number >= 0 ? std::optional(number) : std::nullopt;
}

// The environment's number, 0 where there is none.
Result<int> numberFrom(const char* variable) {
  const char* text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): said in the header
  if (text == nullptr) return 0;
  if (const std::optional<int> number = parseNumber(text)) return *number;
  return Error(Usage::invalid, Step::options,
               std::string(variable) + " \"" + text + "\" is no number");
}

// The part up to the next colon, which is taken off `list`.
std::string takeName(std::string_view& list) {
  const size_t end = std::min(list.find(':'), list.size());
  std::string name(list.substr(0, end));
  list.remove_prefix(std::min(end + 1, list.size()));
  return name;
}

// One byte of length and the name, with room for one descriptor beside it.
struct Letter {
  std::array<char, 1 + kMaxName> text{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> rights{};
  iovec part{};
  msghdr header{};

  explicit Letter(size_t size) {
    part = {text.data(), size};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = rights.data();
    header.msg_controllen = rights.size();
  }
};

// The padding has room for a second one, which nobody has asked for.
int descriptorIn(msghdr& header) {
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights == nullptr || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) {
    return -1;
  }
  const auto at = [&](size_t place) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights) + place * sizeof fd, sizeof fd);
    return fd;
  };
  const size_t bytes = std::min<size_t>(rights->cmsg_len, header.msg_controllen) - CMSG_LEN(0);
  const size_t count = bytes / sizeof(int);
  for (size_t place = 1; place < count; ++place) os::sys::close(at(place));
  return count > 0 ? at(0) : -1;
}

template <class Call>
ssize_t untilAnswered(Call call) {
  ssize_t result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace

Result<std::vector<HandedOver>> inheritedListeners() {
  std::vector<HandedOver> listeners;
  const Result<int> process = numberFrom("LISTEN_PID");
  if (!process) return process.error();
  const Result<int> count = numberFrom("LISTEN_FDS");
  if (!count) return count.error();
  if (*process != ::getpid()) return listeners;
  const char* variable = std::getenv("LISTEN_FDNAMES");  // NOLINT(concurrency-mt-unsafe)
  std::string_view names = variable != nullptr ? variable : "";
  for (int place = 0; place < std::min(*count, INT_MAX - kFirstInherited); ++place) {
    const int fd = kFirstInherited + place;
    if (const os::sys::Answer adopted = os::sys::adopt(fd); adopted < 0) {
      return kernelError(static_cast<int>(-adopted), "LISTEN_FDS: fd " + std::to_string(fd));
    }
    listeners.push_back({fd, takeName(names)});
  }
  return listeners;
}

Result<void> handOver(int unixSocket, int fd, std::string_view name) {
  if (name.size() > kMaxName) {
    return Error(Usage::outOfRange, Step::options,
                 "a name of " + std::to_string(name.size()) + " bytes is above 255");
  }
  Letter letter(1 + name.size());
  letter.text[0] = static_cast<char>(name.size());
  std::memcpy(letter.text.data() + 1, name.data(), name.size());
  cmsghdr* rights = CMSG_FIRSTHDR(&letter.header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
#ifdef MSG_NOSIGNAL
  constexpr int kFlags = MSG_NOSIGNAL;
#else
  constexpr int kFlags = 0;
#endif
#if WARREN_DARWIN  // kernels that are older than the headers take no notice of the flag
  // Darwin answers EINVAL when the other end is gone, and would raise the signal in the send.
  const int on = 1;
  if (::setsockopt(unixSocket, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on) < 0) {
    return kernelError(errno == EINVAL ? EPIPE : errno, "handing over fd " + std::to_string(fd));
  }
#endif
  const ssize_t sent = untilAnswered([&] { return ::sendmsg(unixSocket, &letter.header, kFlags); });
  if (sent < 0) return kernelError(errno, "handing over fd " + std::to_string(fd));
  if (static_cast<size_t>(sent) != letter.part.iov_len) {
    return kernelError(EMSGSIZE, "handing over fd " + std::to_string(fd));
  }
  return {};
}

Result<HandedOver> takeOver(int unixSocket) {
  // The first byte brings the descriptor and says how long the name is.
  Letter letter(1);
#ifdef MSG_CMSG_CLOEXEC
  constexpr int kFlags = MSG_CMSG_CLOEXEC;
#else
  constexpr int kFlags = 0;
#endif
  ssize_t read = untilAnswered([&] { return ::recvmsg(unixSocket, &letter.header, kFlags); });
  if (read <= 0) return kernelError(read < 0 ? errno : ECONNRESET, "taking over");
  os::Fd fd(descriptorIn(letter.header));
  if (!fd) return Error(Usage::invalid, Step::socket, "taking over: no descriptor came");
  const size_t size = static_cast<unsigned char>(letter.text[0]);
  std::string name(size, '\0');
  for (size_t have = 0; have < size; have += static_cast<size_t>(read)) {
    read = untilAnswered([&] { return ::recv(unixSocket, name.data() + have, size - have, 0); });
    if (read <= 0) return kernelError(read < 0 ? errno : ECONNRESET, "taking over");
  }
  if (const os::sys::Answer adopted = os::sys::adopt(fd.get()); adopted < 0) {
    return kernelError(static_cast<int>(-adopted), "taking over");
  }
  return HandedOver{fd.release(), std::move(name)};
}

}  // namespace warren
