#include "os/platform.h"
#include "os/poller.h"
#if WARREN_KQUEUE

#include <fcntl.h>
#include <sys/event.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <vector>

#include "base/check.h"
#include "os/fd.h"

namespace warren::os {
namespace {

constexpr size_t kBatch = 256;

using Change = struct kevent;  // the type and the call have one name

// The fields' types differ from system to system, so each is cast to what it is here.
int change(const Fd& queue, int fd, int filter, int flags, unsigned note = 0) {
  Change change;
  EV_SET(&change, static_cast<decltype(Change::ident)>(fd),
         static_cast<decltype(Change::filter)>(filter), static_cast<decltype(Change::flags)>(flags),
         static_cast<decltype(Change::fflags)>(note), 0, decltype(Change::udata){});
  return ::kevent(queue.get(), &change, 1, nullptr, 0, nullptr);
}

Error failed(Step step, const char* call) { return Error(Origin::kernel, errno, step, call); }

#ifdef EVFILT_USER

// What makes a wait return: an event of the queue's own.
class Waker {
 public:
  int attach(const Fd& queue) { return change(queue, 0, EVFILT_USER, EV_ADD | EV_CLEAR); }
  void wake(const Fd& queue) { change(queue, 0, EVFILT_USER, 0, NOTE_TRIGGER); }
  bool took(const Change& event) { return event.filter == EVFILT_USER; }
};

#else

// What makes a wait return: a pipe, read empty when it is seen. A full pipe wakes as well.
class Waker {
 public:
  int attach(const Fd& queue) {
    std::array<int, 2> ends;
    if (::pipe(ends.data()) < 0) return -1;
    reading_ = Fd(ends[0]);
    writing_ = Fd(ends[1]);
    if (sys::adopt(ends[0]) < 0 || sys::adopt(ends[1]) < 0) return -1;
    return change(queue, ends[0], EVFILT_READ, EV_ADD);
  }
  void wake(const Fd&) { [[maybe_unused]] auto written = ::write(writing_.get(), "", 1); }
  bool took(const Change& event) {
    if (event.ident != static_cast<decltype(event.ident)>(reading_.get())) return false;
    std::array<char, 1024> wakes;
    while (::read(reading_.get(), wakes.data(), wakes.size()) == ssize_t{wakes.size()}) {
    }
    return true;
  }

 private:
  Fd reading_;
  Fd writing_;
};

#endif

// A read stops at urgent data. Darwin tells that there is some, so that a short read is not taken for
// the last; elsewhere what is behind it is read when something more arrives.
#ifdef EV_OOBAND
bool urgent(const Change& seen) { return (seen.flags & EV_OOBAND) != 0; }
#else
bool urgent(const Change&) { return false; }
#endif

}  // namespace

// Tokens are kept by descriptor, not in `udata`, which is a pointer and may have 32 bits. The same
// table finds the event of a descriptor whose other filter was seen earlier in the batch.
struct Poller::State {
  struct Watched {
    uint64_t token = 0;
    uint64_t batch = 0;  // the last one with an event of this descriptor, which is
    size_t event = 0;    // here in it
  };

  Event& eventOf(size_t fd);
  void tell(const Change& seen);

  Fd queue;
  Waker waker;
  uint64_t batch = 0;
  size_t told = 0;
  std::vector<Watched> watched;
  std::array<Change, kBatch> ready;
  std::array<Event, kBatch> events;
};

Event& Poller::State::eventOf(size_t fd) {
  WARREN_CHECK(fd < watched.size());
  Watched& one = watched[fd];
  if (one.batch != batch) {
    one.batch = batch;
    one.event = told++;
    events[one.event] = {0, one.token};
  }
  return events[one.event];
}

// EV_EOF means the peer's end to the read filter. To the write filter it means that writing is
// over, for which room to write is enough: the write tells why. Errors are asked for where they are
// needed, since fflags has them on some systems only.
void Poller::State::tell(const Change& seen) {
  if (waker.took(seen)) return;
  Event& event = eventOf(static_cast<size_t>(seen.ident));
  const bool failed = (seen.flags & EV_ERROR) != 0;
  const bool reading = seen.filter == EVFILT_READ;
  const bool over = (seen.flags & EV_EOF) != 0;
  if (reading || failed) event.ready |= kReadable;
  if (!reading || failed) event.ready |= kWritable;
  if ((reading && (over || urgent(seen))) || failed) event.ready |= kEnded;
  if ((!reading && over) || failed) event.ready |= kBroken;
}

Poller::Poller(std::unique_ptr<State> state) : state_(std::move(state)) {}
Poller::Poller(Poller&&) noexcept = default;
Poller::~Poller() = default;

Result<Poller> Poller::make() {
  auto state = std::make_unique<State>();
  state->queue = Fd(::kqueue());
  if (!state->queue) return failed(Step::start, "kqueue");
  // A forked child does not get the queue, a program that is executed in our place would.
  ::fcntl(state->queue.get(), F_SETFD, FD_CLOEXEC);
  if (state->waker.attach(state->queue) < 0) return failed(Step::start, "kevent");
  return Poller(std::move(state));
}

Result<void> Poller::add(int fd, uint64_t token, Watch watch) {
  WARREN_CHECK(token != kWakeToken);
  const size_t index = static_cast<size_t>(fd);
  if (fd >= 0 && index >= state_->watched.size()) state_->watched.resize(index + 1);
  const bool stream = watch == Watch::stream;
  const int flags = stream ? EV_ADD | EV_CLEAR : EV_ADD;
  if (change(state_->queue, fd, EVFILT_READ, flags) < 0 ||
      (stream && change(state_->queue, fd, EVFILT_WRITE, flags) < 0)) {
    const Error error = failed(Step::socket, "kevent");
    remove(fd);
    return error;
  }
  state_->watched[index].token = token;
  return {};
}

// To add what is there already makes the kernel look again.
Result<void> Poller::retoken(int fd, uint64_t token) { return add(fd, token, Watch::stream); }

// A descriptor that was closed elsewhere (EBADF, ENOENT) is as silent as one removed.
void Poller::remove(int fd) {
  change(state_->queue, fd, EVFILT_READ, EV_DELETE);
  change(state_->queue, fd, EVFILT_WRITE, EV_DELETE);
}

std::span<const Event> Poller::wait(int64_t timeoutMs) {
  State& state = *state_;
  const auto timeout = std::min<int64_t>(timeoutMs, INT_MAX);
  const timespec limit{static_cast<time_t>(timeout / 1000),
                       static_cast<long>(timeout % 1000 * 1000000)};
  const int count = ::kevent(state.queue.get(), nullptr, 0, state.ready.data(), kBatch,
                             timeout < 0 ? nullptr : &limit);
  if (count < 0) {
    WARREN_CHECK(errno != EBADF);
    return {};  // EINTR: the caller knows how long it still wants to wait
  }
  ++state.batch;
  state.told = 0;
  for (int i = 0; i < count; ++i) state.tell(state.ready[static_cast<size_t>(i)]);
  return {state.events.data(), state.told};
}

void Poller::wake() { state_->waker.wake(state_->queue); }

// The ends of a waker's pipe are the child's too, and closed.
void Poller::abandon() { static_cast<void>(state_->queue.release()); }

int Poller::fd() const { return state_->queue.get(); }

}  // namespace warren::os

#endif  // WARREN_KQUEUE
