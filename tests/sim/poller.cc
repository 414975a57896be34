// os/poller.h on the simulated kernel: edges as epoll tells them.
#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "base/check.h"
#include "os/poller.h"
#include "state.h"

namespace warren::sim {

namespace {

constexpr size_t kClosedTokens = 256;

void line(Entry& entry, uint8_t filters) {
  if (entry.queue->kernel.readiness == Readiness::epoll) filters = kBoth;
  if (entry.pending == 0) entry.queue->line.push_back(&entry);
  entry.pending |= filters;
}

}  // namespace

void edge(KernelSocket& socket, Filter filter) {
  if (socket.entry == nullptr) return;
  Kernel::State& kernel = socket.entry->queue->kernel;
  if (!kernel.chance(&Chaos::delays)) return line(*socket.entry, filter);
  const uint64_t when = kernel.now + kernel.below(20'000'000);
  kernel.schedule.emplace(when, [&socket, filter] {
    if (socket.entry != nullptr) line(*socket.entry, filter);
  });
}

void watch(Queue& queue, KernelSocket& socket, int fd, uint64_t token, os::Watch how) {
  auto entry = std::make_unique<Entry>(Entry{&queue, &socket, fd, token, how});
  socket.entry = entry.get();
  line(*entry, kBoth);  // what is ready already
  queue.entries[fd] = std::move(entry);
}

void unwatch(Entry& entry) {
  std::vector<uint64_t>& closed = entry.queue->kernel.closedTokens;
  if (closed.size() == kClosedTokens) closed.erase(closed.begin());
  closed.push_back(entry.token);
  std::erase(entry.queue->line, &entry);
  entry.socket->entry = nullptr;
  entry.queue->entries.erase(entry.fd);
}

uint32_t readyBits(bool readable, bool writable, bool ended, bool broken) {
  return (readable ? os::kReadable : 0u) | (writable ? os::kWritable : 0u) |
         (ended ? os::kEnded : 0u) | (broken ? os::kBroken : 0u);
}

std::optional<os::Event> eventOf(const Entry& entry, uint8_t filters) {
  const Ready ready = readinessOf(*entry.socket);
  const bool listener = entry.watch == os::Watch::listener;
  if (entry.queue->kernel.readiness == Readiness::epoll) {
    const bool out = ready.out && !listener;
    if (!ready.in && !out && !ready.hangUp) return std::nullopt;
    return os::Event{readyBits(ready.in, out, ready.hangUp, ready.everything), entry.token};
  }
  // EV_EOF of the read filter is the peer's end; that of the write filter says that writing is over.
  const KernelSocket& socket = *entry.socket;
  const bool reading = (filters & kRead) != 0 && ready.in;
  const bool writing = (filters & kWrite) != 0 && ready.out && !listener;
  if (!reading && !writing) return std::nullopt;
  return os::Event{readyBits(reading, writing, reading && ready.hangUp,
                             writing && (socket.writeShut || ready.everything)),
                   entry.token};
}

}  // namespace warren::sim

namespace warren::os {

namespace {

using sim::Call;
using sim::Entry;
using sim::Kernel;
using sim::Queue;

constexpr size_t kBatch = 256;
constexpr uint64_t kNever = UINT64_MAX;

Error failed(int error, Step step, const char* call) {
  return Error(Origin::kernel, error, step, call);
}

// Those in line are looked at once; an edge that finds nothing any more is not told. Level-triggered
// ones that have told something stay in line. One filter may be told without the other.
void harvest(Queue& queue) {
  for (size_t left = queue.line.size(); left > 0 && queue.told.size() < kBatch; --left) {
    Entry& entry = *queue.line.front();
    queue.line.pop_front();
    uint8_t filters = std::exchange(entry.pending, uint8_t{0});
    const bool split = queue.kernel.readiness == sim::Readiness::kqueue && filters == sim::kBoth &&
                       queue.kernel.chance(&sim::Chaos::delays);
    if (split) {
      filters = queue.kernel.below(2) == 0 ? sim::kRead : sim::kWrite;
      entry.pending = sim::kBoth ^ filters;
      queue.line.push_back(&entry);
    }
    const std::optional<Event> event = sim::eventOf(entry, filters);
    if (!event) continue;
    queue.told.push_back(*event);
    if (entry.watch == Watch::listener) sim::edge(*entry.socket, sim::kRead);
  }
}

// What tests want told besides.
void addScripted(Queue& queue) {
  Kernel::State& kernel = queue.kernel;
  std::vector<Event>& told = queue.told;
  if (kernel.writableWaits > 0) {
    --kernel.writableWaits;
    for (const auto& [fd, entry] : queue.entries) {
      if (entry->watch == Watch::stream) told.push_back({kWritable, entry->token});
    }
  }
  for (const Event& extra : std::exchange(kernel.extraEvents, {})) told.push_back(extra);
  if (kernel.duplicateWaits > 0) {
    --kernel.duplicateWaits;
    const std::vector<Event> once = told;
    told.insert(told.end(), once.begin(), once.end());
  }
  kernel.disturb(queue);
  if (kernel.editEvents) kernel.editEvents(told);
}

}  // namespace

struct Poller::State {
  Queue queue;
};

Poller::Poller(std::unique_ptr<State> state) : state_(std::move(state)) {}
Poller::Poller(Poller&&) noexcept = default;

Poller::~Poller() {
  if (state_ == nullptr) return;
  Queue& queue = state_->queue;
  while (!queue.entries.empty()) sim::unwatch(*queue.entries.begin()->second);
  std::erase(queue.kernel.queues, &queue);
  if (queue.waker >= 0) queue.kernel.forget(queue.waker);
  if (queue.fd >= 0) queue.kernel.forget(queue.fd);
}

Result<Poller> Poller::make() {
  Kernel::State& kernel = Kernel::current().state();
  Poller poller(std::unique_ptr<State>(new State{.queue = {.kernel = kernel}}));
  Queue& queue = poller.state_->queue;
  const sys::Answer made = kernel.open(sim::Kind::poller);
  if (made < 0) return failed(static_cast<int>(-made), Step::start, "epoll_create1");
  queue.fd = static_cast<int>(made);
  const sys::Answer waker = kernel.open(sim::Kind::waker);
  if (waker < 0) return failed(static_cast<int>(-waker), Step::start, "eventfd");
  queue.waker = static_cast<int>(waker);
  kernel.queues.push_back(&queue);
  return poller;
}

Result<void> Poller::add(int fd, uint64_t token, Watch watch) {
  WARREN_CHECK(token != kWakeToken);
  Queue& queue = state_->queue;
  const sim::Fault fault = queue.kernel.enter(Call::add, fd);
  if (fault.error != 0) return failed(fault.error, Step::socket, "epoll_ctl");
  sim::KernelSocket* socket = queue.kernel.find(fd);
  if (socket == nullptr) {
    return failed(queue.kernel.descriptors.contains(fd) ? EPERM : EBADF, Step::socket, "epoll_ctl");
  }
  if (socket->entry != nullptr) return failed(EEXIST, Step::socket, "epoll_ctl");
  sim::watch(queue, *socket, fd, token, watch);
  return {};
}

Result<void> Poller::retoken(int fd, uint64_t token) {
  WARREN_CHECK(token != kWakeToken);
  Queue& queue = state_->queue;
  const sim::Fault fault = queue.kernel.enter(Call::retoken, fd);
  if (fault.error != 0) return failed(fault.error, Step::socket, "epoll_ctl");
  const auto found = queue.entries.find(fd);
  if (found == queue.entries.end()) return failed(ENOENT, Step::socket, "epoll_ctl");
  found->second->token = token;
  sim::edge(*found->second->socket);
  return {};
}

void Poller::remove(int fd) {
  Queue& queue = state_->queue;
  queue.kernel.enter(Call::remove, fd);
  const auto found = queue.entries.find(fd);
  if (found != queue.entries.end()) sim::unwatch(*found->second);
}

std::span<const Event> Poller::wait(int64_t timeoutMs) {
  Queue& queue = state_->queue;
  Kernel::State& kernel = queue.kernel;
  kernel.lastTimeout = timeoutMs;
  queue.told.clear();
  if (kernel.enter(Call::wait).error != 0) return {};
  const uint64_t begin = kernel.now;
  const uint64_t deadline =
      timeoutMs < 0 ? kNever : begin + static_cast<uint64_t>(timeoutMs) * 1'000'000;
  for (;;) {
    kernel.runDue();
    harvest(queue);
    addScripted(queue);
    const bool woken = queue.woken.exchange(false);
    const bool interrupted = std::exchange(kernel.interrupted, false);
    if (woken || interrupted || !queue.told.empty() || kernel.now >= deadline) return queue.told;
    const uint64_t next = kernel.schedule.empty() ? kNever : kernel.schedule.begin()->first;
    if (std::min(next, deadline) == kNever) {
      if (kernel.idleAllowed) return {};
      throw std::logic_error("the reactor would sleep for ever");
    }
    kernel.now = std::min(next, deadline);
  }
}

void Poller::wake() { state_->queue.woken = true; }

void Poller::abandon() {}

int Poller::fd() const { return state_->queue.fd; }

}  // namespace warren::os
