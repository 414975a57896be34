// os/poller.h on the simulated kernel: edges as epoll tells them.
#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "base/check.h"
#include "os/poller.h"
#include "state.h"

namespace warren::sim {

namespace {

void line(Entry& entry) {
  if (std::exchange(entry.pending, true)) return;
  entry.queue->line.push_back(&entry);
}

}  // namespace

void edge(KernelSocket& socket) {
  if (socket.entry != nullptr) line(*socket.entry);
}

void watch(Queue& queue, KernelSocket& socket, int fd, uint64_t token, os::Watch how) {
  auto entry = std::make_unique<Entry>(Entry{&queue, &socket, fd, token, how});
  socket.entry = entry.get();
  line(*entry);  // what is ready already
  queue.entries[fd] = std::move(entry);
}

void unwatch(Entry& entry) {
  std::erase(entry.queue->line, &entry);
  entry.socket->entry = nullptr;
  entry.queue->entries.erase(entry.fd);
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

Event toEvent(const Entry& entry, const sim::Readiness& ready) {
  return {entry.token, ready.in, ready.out, ready.hangUp, ready.everything};
}

// Those in line are looked at once; an edge that finds nothing any more is not told. Level-triggered
// ones that have told something stay in line.
void harvest(Queue& queue) {
  for (size_t left = queue.line.size(); left > 0 && queue.told.size() < kBatch; --left) {
    Entry& entry = *queue.line.front();
    queue.line.pop_front();
    entry.pending = false;
    sim::Readiness ready = readinessOf(*entry.socket);
    if (entry.watch == Watch::listener) ready.out = false;
    if (!ready.any()) continue;
    queue.told.push_back(toEvent(entry, ready));
    if (entry.watch == Watch::listener) sim::edge(*entry.socket);
  }
}

// What tests want told besides.
void addScripted(Queue& queue) {
  Kernel::State& kernel = queue.kernel;
  std::vector<Event>& told = queue.told;
  if (kernel.writableWaits > 0) {
    --kernel.writableWaits;
    for (const auto& [fd, entry] : queue.entries) {
      if (entry->watch == Watch::stream) told.push_back({entry->token, false, true, false, false});
    }
  }
  for (const Event& extra : std::exchange(kernel.extraEvents, {})) told.push_back(extra);
  if (kernel.duplicateWaits > 0) {
    --kernel.duplicateWaits;
    const std::vector<Event> once = told;
    told.insert(told.end(), once.begin(), once.end());
  }
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

int Poller::fd() const { return state_->queue.fd; }

}  // namespace warren::os
