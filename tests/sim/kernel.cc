// The test's side of the simulated kernel.
#include "kernel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>

#include "base/check.h"
#include "state.h"

namespace warren::sim {

namespace {

thread_local Kernel* currentKernel = nullptr;

size_t rowOf(Call call) { return static_cast<size_t>(call); }

constexpr size_t kPeerBacklog = 4096;

}  // namespace

Readiness usualReadiness() {
  const char* const asked = std::getenv("WARREN_SIM_READINESS");
  if (asked == nullptr) return WARREN_KQUEUE ? Readiness::kqueue : Readiness::epoll;
  WARREN_CHECK(asked == std::string_view("epoll") || asked == std::string_view("kqueue"));
  return asked == std::string_view("epoll") ? Readiness::epoll : Readiness::kqueue;
}

// --- state ---------------------------------------------------------------------------------------

Fault Kernel::State::enter(Call call, int fd) {
  ++calls[rowOf(call)];
  auto& line = faults[rowOf(call)];
  const auto fits = [&](const PlannedFault& each) { return each.fd == kAnyFd || each.fd == fd; };
  const auto found = std::find_if(line.begin(), line.end(), fits);
  if (found == line.end()) return byChance(call, fd);
  const Fault fault = found->fault;
  line.erase(found);
  return fault;
}

os::sys::Answer Kernel::State::open(Kind kind, KernelSocket* socket) {
  if (descriptors.size() >= descriptorLimit) return -EMFILE;
  int number = 3;
  for (const auto& [used, descriptor] : descriptors) {
    if (used != number) break;
    ++number;
  }
  descriptors[number] = {kind, socket};
  return number;
}

void Kernel::State::forget(int fd) { WARREN_CHECK(descriptors.erase(fd) == 1); }

KernelSocket* Kernel::State::find(int fd) {
  const auto found = descriptors.find(fd);
  return found != descriptors.end() ? found->second.socket : nullptr;
}

KernelSocket& Kernel::State::make(Family family) {
  KernelSocket& socket = sockets.emplace_back();
  socket.family = family;
  socket.sendSize = sendSize;
  socket.receiveSize = receiveSize;
  return socket;
}

// Several listeners of one port take turns.
KernelSocket* Kernel::State::listenerAt(const Address& address) {
  std::vector<KernelSocket*> fitting;
  for (KernelSocket* each : listeners) {
    const Address& local = each->local;
    const bool any = local.ip() == std::array<uint8_t, 16>();
    const bool family = local.family() == address.family() ||
                        (any && local.family() == Family::ipv6 && !each->ipv6Only);
    const bool fits = local.port() == address.port() && family && (any || local == address);
    if (fits && local.family() != Family::unix) fitting.push_back(each);
  }
  return fitting.empty() ? nullptr : fitting[nextListener++ % fitting.size()];
}

const Plan* Kernel::State::planFor(const Address& address) const {
  for (const auto& [planned, plan] : plans) {
    if (planned == address) return &plan;
  }
  return nullptr;
}

void Kernel::State::runDue() {
  while (!schedule.empty() && schedule.begin()->first <= now) {
    const std::function<void()> action = std::move(schedule.begin()->second);
    schedule.erase(schedule.begin());
    action();
  }
}

// --- kernel --------------------------------------------------------------------------------------

Kernel::Kernel() : state_(std::make_unique<State>()), previous_(currentKernel) {
  currentKernel = this;
}

Kernel::~Kernel() {
  if (!state_->queues.empty()) base::fatal("a reactor outlived its simulated kernel");
  currentKernel = previous_;
}

Kernel& Kernel::current() {
  if (currentKernel == nullptr) base::fatal("no simulated kernel on this thread");
  return *currentKernel;
}

Kernel* Kernel::ifAny() { return currentKernel; }

uint64_t Kernel::now() const { return state_->now; }

void Kernel::advance(Nanoseconds span) { state_->now += static_cast<uint64_t>(span.count()); }

void Kernel::after(Nanoseconds delay, std::function<void()> action) {
  state_->schedule.emplace(state_->now + static_cast<uint64_t>(delay.count()), std::move(action));
}

void Kernel::interrupt() { state_->interrupted = true; }

void Kernel::allowIdle(bool on) { state_->idleAllowed = on; }

void Kernel::buffers(size_t send, size_t receive) {
  state_->sendSize = send;
  state_->receiveSize = receive;
}

void Kernel::sendRoom(size_t bytes) {
  state_->room = bytes;
  for (const auto& [fd, descriptor] : state_->descriptors) {
    KernelSocket* socket = descriptor.socket;
    if (socket != nullptr && socket->phase == Phase::connected) grantRoom(*socket, bytes);
  }
}

void Kernel::descriptorLimit(size_t count) { state_->descriptorLimit = count; }

void Kernel::inject(Call call, Fault fault, int fd) {
  state_->faults[rowOf(call)].push_back({fd, fault});
}

void Kernel::chaos(const Chaos& chaos) {
  state_->chaos = chaos;
  state_->random = chaos.seed;
}

void Kernel::readiness(Readiness how) { state_->readiness = how; }

void Kernel::forked() { ++state_->forks; }

void Kernel::tell(const os::Event& event) { state_->extraEvents.push_back(event); }

void Kernel::duplicateEvents() { state_->duplicateWaits = 1; }

void Kernel::writableTwice() { state_->writableWaits = 2; }

void Kernel::onWait(std::function<void(std::vector<os::Event>&)> edit) {
  state_->editEvents = std::move(edit);
}

bool Kernel::eventPending() const {
  if (!state_->extraEvents.empty() || state_->writableWaits > 0) return true;
  if (!state_->schedule.empty() && state_->schedule.begin()->first <= state_->now) return true;
  for (const Queue* queue : state_->queues) {
    if (queue->woken) return true;
    for (const Entry* entry : queue->line) {
      if (eventOf(*entry, entry->pending)) return true;
    }
  }
  return false;
}

uint64_t Kernel::calls(Call call) const { return state_->calls[rowOf(call)]; }

std::vector<int> Kernel::openDescriptors() const {
  std::vector<int> open;
  for (const auto& [fd, descriptor] : state_->descriptors) open.push_back(fd);
  return open;
}

int64_t Kernel::lastTimeout() const { return state_->lastTimeout; }

bool Kernel::fileExists(const std::string& path) const { return state_->files.contains(path); }

// --- the other side ------------------------------------------------------------------------------

Peer Kernel::connect(int port) {
  return connect(Address::ipv4({127, 0, 0, 1}, static_cast<uint16_t>(port)));
}

Peer Kernel::connect(const Address& address) {
  KernelSocket* listener = state_->listenerAt(address);
  if (listener == nullptr) throw std::logic_error("nobody listens on " + address.text());
  KernelSocket& socket = state_->make(address.family());
  const uint16_t port = state_->takePort();
  socket.local = Address::ipv4({127, 0, 0, 1}, port);
  if (address.family() == Family::ipv6) socket.local = Address::ipv6(address.ip(), port);
  socket.remote = address;
  socket.phase = Phase::connecting;
  join(*state_, socket, *listener);
  return Peer(*this, socket);
}

Peer Kernel::connectUnix(const std::string& path) {
  KernelSocket& socket = state_->make(Family::unix);
  if (startConnectUnix(*state_, socket, path) < 0)
    throw std::logic_error("nobody listens: " + path);
  return Peer(*this, socket);
}

Server Kernel::serve(const Address& address) {
  KernelSocket& socket = state_->make(address.family());
  socket.local = address;
  socket.phase = Phase::listening;
  socket.backlog = kPeerBacklog;
  state_->listeners.push_back(&socket);
  return Server(*this, socket);
}

Server Kernel::serveUnix(const std::string& path) {
  KernelSocket& socket = state_->make(Family::unix);
  socket.local = Address::unix();
  socket.path = path;
  socket.phase = Phase::listening;
  socket.backlog = kPeerBacklog;
  state_->listeners.push_back(&socket);
  state_->files[path] = {&socket, state_->nextInode++};
  return Server(*this, socket);
}

void Kernel::plan(const Address& address, Plan plan) {
  std::erase_if(state_->plans, [&](const auto& each) { return each.first == address; });
  state_->plans.emplace_back(address, plan);
}

size_t Kernel::attempts(const Address& address) const {
  const auto underWay = [&](const KernelSocket& socket) {
    return socket.phase == Phase::connecting && !socket.orphan && socket.remote == address;
  };
  return static_cast<size_t>(
      std::count_if(state_->sockets.begin(), state_->sockets.end(), underWay));
}

const std::vector<Address>& Kernel::dialed() const { return state_->dialed; }

std::pair<int, Peer> Kernel::connectedPair(Family family) {
  KernelSocket& near = state_->make(family);
  KernelSocket& far = state_->make(family);
  const bool named = family != Family::unix;
  near.local = far.remote =
      named ? Address::ipv4({127, 0, 0, 1}, state_->takePort()) : Address::unix();
  near.remote = far.local =
      named ? Address::ipv4({127, 0, 0, 1}, state_->takePort()) : Address::unix();
  near.phase = far.phase = Phase::connected;
  near.other = &far;
  far.other = &near;
  near.fd = static_cast<int>(state_->open(Kind::socket, &near));
  return {near.fd, Peer(*this, far)};
}

int Kernel::plainFile() { return static_cast<int>(state_->open(Kind::file)); }

// --- peers ---------------------------------------------------------------------------------------

size_t Peer::send(Bytes bytes) {
  const os::sys::Answer taken = transmit(*socket_, {&bytes, 1}, SIZE_MAX);
  return taken > 0 ? static_cast<size_t>(taken) : 0;
}

std::string Peer::read(size_t most) {
  std::string text;
  while (text.size() < most) {
    std::array<std::byte, 4096> part;
    const size_t wanted = std::min(part.size(), most - text.size());
    const os::sys::Answer count = receive(*socket_, std::span(part).first(wanted));
    if (count <= 0) break;
    text.append(asText({part.data(), static_cast<size_t>(count)}));
  }
  return text;
}

void Peer::shutdownWrite() { shutWrite(*socket_); }

void Peer::reset() { closeSocket(kernel_->state(), *socket_, true); }

void Peer::close() { closeSocket(kernel_->state(), *socket_, false); }

size_t Peer::readable() const { return socket_->inbox.size(); }

bool Peer::ended() const { return socket_->finReceived && socket_->inbox.size() == 0; }

bool Peer::wasReset() const { return socket_->resetReceived; }

bool Peer::connected() const {
  return socket_->phase == Phase::connected && !socket_->orphan && !socket_->readShut &&
         !socket_->writeShut;
}

void Peer::room(size_t bytes) { grantRoom(*socket_->other, bytes); }

void Peer::unlimitedRoom() { grantRoom(*socket_->other, std::nullopt); }

void Peer::receiveSize(size_t bytes) {
  socket_->receiveSize = bytes;
  if (socket_->other != nullptr) deliver(*socket_->other);
}

int Peer::fd() const { return socket_->other != nullptr ? socket_->other->fd : -1; }

uint64_t Peer::token() const {
  Entry* entry = socket_->other != nullptr ? socket_->other->entry : nullptr;
  if (entry == nullptr) throw std::logic_error("nobody watches the other end");
  return entry->token;
}

const Address& Peer::address() const { return socket_->local; }

std::optional<Peer> Server::accept() {
  KernelSocket* accepted = takeAccepted(kernel_->state(), *socket_);
  if (accepted == nullptr) return std::nullopt;
  return Peer(*kernel_, *accepted);
}

void Server::close() { closeSocket(kernel_->state(), *socket_, false); }

}  // namespace warren::sim
