// How simulated sockets behave: as Linux has them, apart from time.
#include <algorithm>
#include <cerrno>

#include "state.h"

namespace warren::sim {

using os::sys::Answer;

// --- bytes ---------------------------------------------------------------------------------------

size_t ByteQueue::peek(std::span<std::byte> into) const {
  const size_t count = std::min(into.size(), size());
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(head_), count, into.begin());
  return count;
}

size_t ByteQueue::take(std::span<std::byte> into) {
  const size_t count = peek(into);
  drop(count);
  return count;
}

size_t ByteQueue::moveTo(ByteQueue& other, size_t most) {
  const size_t count = std::min(most, size());
  other.append({bytes_.data() + head_, count});
  drop(count);
  return count;
}

void ByteQueue::drop(size_t count) {
  head_ += count;
  if (head_ == bytes_.size()) {
    bytes_.clear();
    head_ = 0;
  } else if (head_ > bytes_.size() / 2) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
}

// --- room ----------------------------------------------------------------------------------------

namespace {

bool isUnix(const KernelSocket& socket) { return socket.family == Family::unix; }

// Unix sockets have no buffer in between: what the receiver has not read is charged to the sender.
size_t charged(const KernelSocket& socket) {
  if (!isUnix(socket)) return socket.outbox.size();
  return socket.other != nullptr ? socket.other->inbox.size() : 0;
}

size_t spaceLeft(const KernelSocket& socket) {
  const size_t used = charged(socket);
  const size_t left = socket.sendSize - std::min(used, socket.sendSize);
  return socket.room ? std::min(left, *socket.room) : left;
}

// Linux calls a socket writable when a good part of its buffer is free, not when a byte is.
bool isWritable(const KernelSocket& socket) {
  if (spaceLeft(socket) == 0) return false;
  const size_t used = charged(socket);
  return isUnix(socket) ? used * 4 <= socket.sendSize : socket.sendSize - used >= used / 2;
}

// TCP tells only those who met a full buffer; unix sockets tell whenever somebody reads.
// kqueue tells all.
void spaceFreed(KernelSocket& socket) {
  const bool kqueue =
      socket.entry != nullptr && socket.entry->queue->kernel.readiness == Readiness::kqueue;
  if (!isWritable(socket) || (!isUnix(socket) && !socket.wantsSpace && !kqueue)) return;
  socket.wantsSpace = false;
  edge(socket, kWrite);
}

// What a reset means: TCP calls it a broken pipe once the peer's FIN has come.
int resetError(const KernelSocket& socket) {
  if (socket.phase == Phase::connecting) return ECONNREFUSED;
  return socket.finReceived ? EPIPE : ECONNRESET;
}

void endArrives(KernelSocket& socket) {
  socket.finReceived = true;
  socket.readShut = true;
  edge(socket, kRead);
}

}  // namespace

void grantRoom(KernelSocket& socket, std::optional<size_t> room) {
  socket.room = room;
  spaceFreed(socket);
}

void deliver(KernelSocket& from) {
  if (from.phase != Phase::connected || from.other == nullptr) return;
  KernelSocket& to = *from.other;
  if (to.orphan && from.outbox.size() > 0) return breakSocket(from, resetError(from));
  const size_t room =
      isUnix(to) ? SIZE_MAX : to.receiveSize - std::min(to.inbox.size(), to.receiveSize);
  if (from.outbox.moveTo(to.inbox, room) > 0) {
    edge(to, kRead);
    spaceFreed(from);
  }
  if (from.writeShut && !from.finSent && from.outbox.size() == 0) {
    from.finSent = true;
    endArrives(to);
  }
}

// --- calls ---------------------------------------------------------------------------------------

Answer receive(KernelSocket& socket, std::span<std::byte> into) {
  if (const size_t count = socket.inbox.take(into); count > 0) {
    if (socket.other != nullptr)
      isUnix(socket) ? spaceFreed(*socket.other) : deliver(*socket.other);
    return static_cast<Answer>(count);
  }
  if (socket.finReceived && !isUnix(socket)) return 0;
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  if (socket.readShut) return 0;
  return socket.phase == Phase::connected || socket.phase == Phase::connecting ? -EAGAIN
                                                                               : -ENOTCONN;
}

Answer transmit(KernelSocket& socket, std::span<const Bytes> segments, size_t limit) {
  if (socket.error != 0 && !isUnix(socket)) return -std::exchange(socket.error, 0);
  if (socket.phase == Phase::connecting) return -EAGAIN;
  if (socket.phase != Phase::connected || socket.writeShut) return -EPIPE;
  size_t total = 0;
  for (const Bytes& segment : segments) total += segment.size();
  const size_t possible = std::min(total, spaceLeft(socket));
  const size_t taken = std::min(possible, limit);
  if (taken < total) socket.wantsSpace = true;
  if (taken == 0) return total == 0 ? 0 : -EAGAIN;
  size_t left = taken;
  for (const Bytes& segment : segments) {
    const size_t part = std::min(left, segment.size());
    socket.outbox.append(segment.first(part));
    left -= part;
  }
  if (socket.room) *socket.room -= taken;
  deliver(socket);
  return static_cast<Answer>(taken);
}

void shutWrite(KernelSocket& socket) {
  socket.writeShut = true;
  deliver(socket);
  edge(socket);  // Linux wakes whoever polls it, for nothing
}

void shutRead(KernelSocket& socket) {
  socket.readShut = true;
  if (isUnix(socket) && socket.other != nullptr) {
    socket.other->writeShut = true;
    edge(*socket.other);
  }
  edge(socket);
}

void breakSocket(KernelSocket& socket, int error) {
  if (socket.phase != Phase::connected && socket.phase != Phase::connecting) return;
  if (socket.finSent && socket.finReceived) return;  // it was over before
  socket.phase = Phase::broken;
  socket.error = error;
  socket.resetReceived = true;
  socket.readShut = true;
  socket.writeShut = true;
  socket.outbox.clear();
  edge(socket);
}

namespace {

void closeListener(Kernel::State& kernel, KernelSocket& listener) {
  std::erase(kernel.listeners, &listener);
  for (KernelSocket* each : std::exchange(listener.accepted, {})) closeSocket(kernel, *each, true);
  for (KernelSocket* each : std::exchange(listener.waiting, {})) breakSocket(*each, ECONNREFUSED);
}

void closeUnix(KernelSocket& socket, bool abort) {
  KernelSocket& other = *socket.other;
  socket.phase = Phase::broken;
  other.writeShut = true;
  if (abort || socket.inbox.size() > 0) {
    other.error = ECONNRESET;
    other.resetReceived = true;
  }
  edge(other, kWrite);
  endArrives(other);
}

void closeTcp(KernelSocket& socket, bool abort) {
  if (abort || socket.inbox.size() > 0) {
    socket.outbox.clear();
    socket.phase = Phase::broken;
    breakSocket(*socket.other, resetError(*socket.other));
  } else {
    socket.writeShut = true;
    deliver(socket);
  }
}

}  // namespace

void closeSocket(Kernel::State& kernel, KernelSocket& socket, bool abort) {
  if (socket.orphan) return;
  if (socket.entry != nullptr) unwatch(*socket.entry);
  socket.orphan = true;
  socket.fd = -1;
  if (socket.phase == Phase::listening) return closeListener(kernel, socket);
  for (KernelSocket* listener : kernel.listeners) std::erase(listener->waiting, &socket);
  if (socket.phase == Phase::connected && socket.other != nullptr) {
    isUnix(socket) ? closeUnix(socket, abort) : closeTcp(socket, abort);
  } else {
    socket.phase = Phase::broken;
  }
  socket.inbox.clear();
}

// --- connections ---------------------------------------------------------------------------------

namespace {

void connected(Kernel::State& kernel, KernelSocket& socket, KernelSocket& other) {
  socket.phase = Phase::connected;
  socket.other = &other;
  if (kernel.room && socket.fd >= 0) socket.room = kernel.room;
  edge(socket);
}

void decide(Kernel::State& kernel, KernelSocket& socket, const Plan& plan) {
  if (socket.phase != Phase::connecting || socket.orphan) return;
  if (plan.error != 0) return breakSocket(socket, plan.error);
  if (plan.self) {
    socket.local = socket.remote;
    return connected(kernel, socket, socket);
  }
  KernelSocket* listener = kernel.listenerAt(socket.remote);
  if (listener == nullptr) return breakSocket(socket, ECONNREFUSED);
  join(kernel, socket, *listener);
}

Address loopbackOf(Family family, uint16_t port) {
  std::array<uint8_t, 16> one{};
  one[15] = 1;
  return family == Family::ipv4 ? Address::ipv4({127, 0, 0, 1}, port) : Address::ipv6(one, port);
}

}  // namespace

Answer join(Kernel::State& kernel, KernelSocket& from, KernelSocket& listener) {
  if (listener.accepted.size() > listener.backlog) {
    if (!isUnix(listener)) listener.waiting.push_back(&from);
    return -EAGAIN;
  }
  KernelSocket& end = kernel.make(from.family);
  end.local = from.remote;
  end.remote = from.local;
  end.path = listener.path;
  connected(kernel, end, from);
  connected(kernel, from, end);
  listener.accepted.push_back(&end);
  edge(listener);
  deliver(from);  // it may have been shut down while it waited
  return 0;
}

KernelSocket* takeAccepted(Kernel::State& kernel, KernelSocket& listener) {
  if (listener.accepted.empty()) return nullptr;
  KernelSocket* taken = listener.accepted.front();
  listener.accepted.pop_front();
  if (!listener.waiting.empty()) {
    KernelSocket* next = listener.waiting.front();
    listener.waiting.pop_front();
    join(kernel, *next, listener);
  }
  return taken;
}

Answer startConnect(Kernel::State& kernel, KernelSocket& socket, const Address& address) {
  kernel.dialed.push_back(address);
  if (socket.phase == Phase::connecting) return -EALREADY;
  if (socket.phase != Phase::fresh) return -EISCONN;
  const Plan* found = kernel.planFor(address);
  const Plan plan = found != nullptr ? *found : kernel.connectByChance();
  if (plan.atOnce && plan.error != 0) return -plan.error;
  socket.phase = Phase::connecting;
  socket.remote = address;
  if (socket.local.family() == Family::none) {
    socket.local = loopbackOf(address.family(), kernel.takePort());
  }
  if (plan.blackHole) return -EINPROGRESS;
  if (plan.delay.count() > 0) {
    kernel.schedule.emplace(kernel.now + static_cast<uint64_t>(plan.delay.count()),
                            [&kernel, &socket, plan] { decide(kernel, socket, plan); });
    return -EINPROGRESS;
  }
  decide(kernel, socket, plan);
  return plan.atOnce && socket.phase == Phase::connected ? 0 : -EINPROGRESS;
}

Answer startConnectUnix(Kernel::State& kernel, KernelSocket& socket, const std::string& path) {
  const auto file = kernel.files.find(path);
  if (file == kernel.files.end()) return path.starts_with('\0') ? -ECONNREFUSED : -ENOENT;
  KernelSocket& listener = *file->second.socket;
  if (listener.orphan || listener.phase != Phase::listening) return -ECONNREFUSED;
  socket.local = socket.remote = Address::unix();
  return join(kernel, socket, listener);
}

// --- readiness -----------------------------------------------------------------------------------

Ready readinessOf(KernelSocket& socket) {
  if (socket.phase == Phase::listening) return {.in = !socket.accepted.empty()};
  if (socket.phase == Phase::connecting) return {};
  Ready ready;
  ready.everything = socket.error != 0 || (socket.readShut && socket.writeShut) ||
                     socket.phase == Phase::fresh || socket.phase == Phase::broken;
  ready.hangUp = ready.everything || socket.readShut;
  ready.in = ready.hangUp || socket.inbox.size() > 0;
  ready.out = ready.everything || socket.writeShut || isWritable(socket);
  if (!ready.out) socket.wantsSpace = true;
  return ready;
}

}  // namespace warren::sim
