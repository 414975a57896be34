// os/sys.h on the simulated kernel.
#include "os/sys.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "state.h"

namespace warren::os::sys {

namespace {

using sim::Call;
using sim::Fault;
using sim::Kernel;
using sim::KernelSocket;
using sim::Phase;

Kernel::State& kernel() { return Kernel::current().state(); }

Answer notASocket(int fd) { return kernel().descriptors.contains(fd) ? -ENOTSOCK : -EBADF; }

Answer sendAll(Call call, int fd, std::span<const Bytes> segments) {
  const Fault fault = kernel().enter(call, fd);
  if (fault.error != 0 && fault.error != EAGAIN) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  const size_t limit = fault.error == EAGAIN ? 0 : fault.limit;
  const Answer answer = transmit(*socket, segments, limit);
  // What the fault refused for no reason is welcome right after: an edge of its own.
  if (limit != SIZE_MAX) sim::edge(*socket, sim::kWrite);
  return answer;
}

Answer openSocket(KernelSocket* socket) {
  const Answer fd = kernel().open(sim::Kind::socket, socket);
  if (fd >= 0) socket->fd = static_cast<int>(fd);
  return fd;
}

void closeWith(Call call, int fd, bool abort) {
  kernel().enter(call, fd);
  WARREN_CHECK(kernel().descriptors.contains(fd));  // closed twice, or never ours
  if (KernelSocket* socket = kernel().find(fd)) {
    closeSocket(kernel(), *socket, abort && socket->family != Family::unix);
  }
  kernel().forget(fd);
}

bool anyAddress(const Address& address) { return address.ip() == std::array<uint8_t, 16>(); }

bool taken(const Address& address, bool reusePort) {
  for (const KernelSocket* each : kernel().listeners) {
    const Address& other = each->local;
    const bool same = other.family() == address.family() && other.port() == address.port() &&
                      (other == address || anyAddress(other) || anyAddress(address));
    if (same && !(reusePort && each->reusePort)) return true;
  }
  return false;
}

}  // namespace

bool blocked(Answer answer) { return answer == -EAGAIN; }

Answer recv(int fd, std::span<std::byte> into) {
  WARREN_CHECK(!into.empty());
  const Fault fault = kernel().enter(Call::recv, fd);
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  if (fault.error == EAGAIN) sim::edge(*socket, sim::kRead);  // it has arrived just after
  if (fault.error != 0) return -fault.error;
  const bool cut = fault.limit < into.size();
  const Answer answer = receive(*socket, cut ? into.first(fault.limit) : into);
  if (cut) sim::edge(*socket, sim::kRead);
  return answer;
}

Answer peek(int fd, std::span<std::byte> into) {
  WARREN_CHECK(!into.empty());
  const Fault fault = kernel().enter(Call::peek, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  const size_t count = socket->inbox.peek(into.first(std::min(into.size(), fault.limit)));
  return count > 0 ? static_cast<Answer>(count) : receive(*socket, into);
}

Answer send(int fd, Bytes bytes) { return sendAll(Call::send, fd, {&bytes, 1}); }

Answer sendSegments(int fd, std::span<const Bytes> segments) {
  WARREN_CHECK(segments.size() <= kMaxSegments);
  return sendAll(Call::sendSegments, fd, segments);
}

Answer shutdown(int fd, Side side) {
  const Fault fault = kernel().enter(Call::shutdown, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  if (socket->phase != Phase::connected) return -ENOTCONN;
  if (side != Side::read) shutWrite(*socket);
  if (side != Side::write) shutRead(*socket);
  return 0;
}

void close(int fd) { closeWith(Call::close, fd, false); }

void reset(int fd) { closeWith(Call::reset, fd, true); }

Answer socket(Family family) {
  const Fault fault = kernel().enter(Call::socket);
  if (fault.error != 0) return -fault.error;
  if (family == Family::none) return -EAFNOSUPPORT;
  return openSocket(&kernel().make(family));
}

Answer adopt(int fd) {
  const Fault fault = kernel().enter(Call::adopt, fd);
  if (fault.error != 0) return -fault.error;
  return kernel().descriptors.contains(fd) ? 0 : -EBADF;
}

Answer bind(int fd, const Address& address, const BindOptions& options) {
  const Fault fault = kernel().enter(Call::bind, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  const uint16_t port = address.port() != 0 ? address.port() : kernel().takePort();
  if (taken(address.withPort(port), options.reusePort)) return -EADDRINUSE;
  socket->local = address.withPort(port);
  socket->reusePort = options.reusePort;
  socket->ipv6Only = options.ipv6Only;
  return 0;
}

Answer bindUnix(int fd, std::string_view path) {
  constexpr size_t kRoom = 108;
  const Fault fault = kernel().enter(Call::bind, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  if (path.size() + (path.starts_with('\0') ? 0 : 1) > kRoom) return -EINVAL;
  const auto [file, fresh] =
      kernel().files.try_emplace(std::string(path), Kernel::State::File{socket, 0});
  if (!fresh) return -EADDRINUSE;
  file->second.inode = kernel().nextInode++;
  socket->local = Address::unix();
  socket->path = path;
  return 0;
}

Answer listen(int fd, int backlog) {
  const Fault fault = kernel().enter(Call::listen, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  socket->phase = Phase::listening;
  socket->backlog = static_cast<size_t>(std::max(backlog, 0));
  kernel().listeners.push_back(socket);
  return 0;
}

Answer accept(int fd, Address& peer) {
  const Fault fault = kernel().enter(Call::accept, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* listener = kernel().find(fd);
  if (listener == nullptr) return notASocket(fd);
  if (listener->phase != Phase::listening) return -EINVAL;
  // The descriptor comes first: without one the queue is not even looked at.
  if (kernel().descriptors.size() >= kernel().descriptorLimit) return -EMFILE;
  KernelSocket* accepted = takeAccepted(kernel(), *listener);
  if (accepted == nullptr) return -EAGAIN;
  peer = accepted->remote;
  if (kernel().room) accepted->room = kernel().room;
  return openSocket(accepted);
}

Answer connect(int fd, const Address& address) {
  const Fault fault = kernel().enter(Call::connect, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  return startConnect(kernel(), *socket, address);
}

Answer connectUnix(int fd, std::string_view path) {
  const Fault fault = kernel().enter(Call::connect, fd);
  if (fault.error != 0) return -fault.error;
  KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  return startConnectUnix(kernel(), *socket, std::string(path));
}

int pendingError(int fd) {
  KernelSocket* socket = kernel().find(fd);
  return socket != nullptr ? std::exchange(socket->error, 0) : static_cast<int>(-notASocket(fd));
}

bool hasRoom(int fd) {
  KernelSocket* socket = kernel().find(fd);
  return socket == nullptr || readinessOf(*socket).out;
}

Address localAddress(int fd) {
  const KernelSocket* socket = kernel().find(fd);
  return socket != nullptr ? socket->local : Address();
}

Address peerAddress(int fd) {
  const KernelSocket* socket = kernel().find(fd);
  return socket != nullptr && socket->phase == Phase::connected ? socket->remote : Address();
}

Answer kindOf(int fd) {
  const KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  return static_cast<Answer>(socket->phase == Phase::listening ? Kind::listener : Kind::stream);
}

std::string unixPath(int fd) {
  const KernelSocket* socket = kernel().find(fd);
  return socket != nullptr ? socket->path : std::string();
}

Answer setNoDelay(int fd, bool) {
  const KernelSocket* socket = kernel().find(fd);
  if (socket == nullptr) return notASocket(fd);
  return socket->family == Family::unix ? -EOPNOTSUPP : 0;
}

Answer setKeepAlive(int fd, bool, int) { return kernel().find(fd) != nullptr ? 0 : notASocket(fd); }

Answer setDeadPeer(int fd, int) { return kernel().find(fd) != nullptr ? 0 : notASocket(fd); }

FileId fileId(const std::string& path) {
  const auto file = kernel().files.find(path);
  if (file == kernel().files.end()) return {};
  return {true, 1, file->second.inode};
}

void unlink(const std::string& path) { kernel().files.erase(path); }

std::string absolutePath(std::string_view path) {
  const bool relative = !path.empty() && path.front() != '/' && path.front() != '\0';
  return relative ? "/sim/" + std::string(path) : std::string(path);
}

uint64_t now() { return kernel().now; }

Answer spare() {
  const Fault fault = kernel().enter(Call::spare);
  if (fault.error != 0) return -fault.error;
  return kernel().open(sim::Kind::file);
}

#if WARREN_THREADS
Answer startThread(void (*)(void*), void*) { return -EAGAIN; }
#endif

uint32_t forkCount() { return kernel().forks; }

}  // namespace warren::os::sys
