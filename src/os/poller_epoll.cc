#include "os/platform.h"
#include "os/poller.h"
#if WARREN_EPOLL

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>

#include "base/check.h"
#include "os/fd.h"

namespace warren::os {
namespace {

constexpr size_t kBatch = 256;

// EPOLLERR and EPOLLHUP come unasked. Then both directions have something to say, and it is final.
constexpr uint32_t kFinal = EPOLLERR | EPOLLHUP;
constexpr uint32_t kInput = EPOLLIN | EPOLLRDHUP | kFinal;
constexpr uint32_t kRoom = EPOLLOUT | kFinal;
constexpr uint32_t kEnd = EPOLLRDHUP | EPOLLPRI | kFinal;

constexpr uint32_t kStream = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
constexpr uint32_t kListener = EPOLLIN;

int control(const Fd& queue, int operation, int fd, uint32_t interest, uint64_t token) {
  epoll_event event{.events = interest, .data = {.u64 = token}};
  return ::epoll_ctl(queue.get(), operation, fd, &event);
}

Error failed(Step step, const char* call) { return Error(Origin::kernel, errno, step, call); }

// Nearly all events are of the two bits that mean the same here and there; these are of others.
static_assert(uint32_t{kReadable} == EPOLLIN && uint32_t{kWritable} == EPOLLOUT);
uint32_t toReady(uint32_t bits) {
  return ((bits & kInput) != 0 ? kReadable : 0u) | ((bits & kRoom) != 0 ? kWritable : 0u) | kEnded |
         ((bits & kFinal) != 0 ? kBroken : 0u);
}

static_assert(sizeof(Event) == sizeof(epoll_event));
static_assert(offsetof(Event, ready) == offsetof(epoll_event, events));
static_assert(offsetof(Event, token) == offsetof(epoll_event, data));

}  // namespace

struct Poller::State {
  Fd queue;
  Fd waker;  // an eventfd: it counts the wakes, one read takes them all
  std::array<Event, kBatch> events;
};

Poller::Poller(std::unique_ptr<State> state) : state_(std::move(state)) {}
Poller::Poller(Poller&&) noexcept = default;
Poller::~Poller() = default;

Result<Poller> Poller::make() {
  auto state = std::make_unique<State>();
  state->queue = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!state->queue) return failed(Step::start, "epoll_create1");
  state->waker = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!state->waker) return failed(Step::start, "eventfd");
  if (control(state->queue, EPOLL_CTL_ADD, state->waker.get(), EPOLLIN, kWakeToken) < 0) {
    return failed(Step::start, "epoll_ctl");
  }
  return Poller(std::move(state));
}

Result<void> Poller::add(int fd, uint64_t token, Watch watch) {
  WARREN_CHECK(token != kWakeToken);
  const uint32_t interest = watch == Watch::stream ? kStream : kListener;
  if (control(state_->queue, EPOLL_CTL_ADD, fd, interest, token) == 0) return {};
  return failed(Step::socket, "epoll_ctl");
}

Result<void> Poller::retoken(int fd, uint64_t token) {
  WARREN_CHECK(token != kWakeToken);
  if (control(state_->queue, EPOLL_CTL_MOD, fd, kStream, token) == 0) return {};
  return failed(Step::socket, "epoll_ctl");
}

// A descriptor that was closed elsewhere (EBADF, ENOENT) is as silent as one removed.
void Poller::remove(int fd) { control(state_->queue, EPOLL_CTL_DEL, fd, 0, 0); }

std::span<const Event> Poller::wait(int64_t timeoutMs) {
  State& state = *state_;
  const int timeout = static_cast<int>(std::clamp<int64_t>(timeoutMs, -1, INT_MAX));
  const int count = ::epoll_wait(state.queue.get(), reinterpret_cast<epoll_event*>(&state.events),
                                 kBatch, timeout);
  if (count < 0) {
    WARREN_CHECK(errno != EBADF);
    return {};  // EINTR: the caller knows how long it still wants to wait
  }
  Event* end = state.events.data() + count;
  for (Event* event = state.events.data(); event != end;) {
    if (event->token == kWakeToken) [[unlikely]] {
      eventfd_t wakes;
      ::eventfd_read(state.waker.get(), &wakes);
      *event = *--end;
      continue;
    }
    if ((event->ready & kEnd) != 0) [[unlikely]]
      event->ready = toReady(event->ready);
    ++event;
  }
  return {state.events.data(), end};
}

// write(2) is on POSIX's list for signal handlers. EAGAIN means that 2^64 - 2 wakes wait already.
void Poller::wake() { ::eventfd_write(state_->waker.get(), 1); }

void Poller::abandon() {}

int Poller::fd() const { return state_->queue.get(); }

}  // namespace warren::os

#endif  // WARREN_EPOLL
