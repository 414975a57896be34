// For tests only: kqueue over epoll, eventfd and timerfd (Linux 5.11 or newer).
//
// A kqueue is an outer epoll over one epoll for the read filter and one for the write filter, so
// that each filter has edges of its own, an eventfd for EVFILT_USER and a timerfd for each timer.
// Whether a filter is still there is asked of the kernel: close(2) really drops it.
#pragma once

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_TIMER (-7)
#define EVFILT_USER (-11)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
#define EV_OOBAND 0x2000
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_TRIGGER 0x01000000
#define NOTE_FFNOP 0x00000000
#define NOTE_SECONDS 0x0001
#define NOTE_MSECONDS 0x0002
#define NOTE_USECONDS 0x0004
#define NOTE_NSECONDS 0x0008
#define NOTE_ABSTIME 0x0010

struct kevent {  // the field types of FreeBSD 12
  uintptr_t ident;
  short filter;
  unsigned short flags;
  unsigned int fflags;
  int64_t data;
  void* udata;
  uint64_t ext[4];
};

#define EV_SET(event, ident, filter, flags, fflags, data, udata)                            \
  kqueue_emulation::set((event), static_cast<uintptr_t>(ident), static_cast<short>(filter), \
                        static_cast<unsigned short>(flags), static_cast<unsigned>(fflags),  \
                        static_cast<int64_t>(data), (udata))

namespace kqueue_emulation {

using Kevent = struct kevent;

// Above 0: every n-th kevent() also repeats a write event. BSD makes one on any ACK.
inline int spuriousWrites = 0;

inline void set(Kevent* event, uintptr_t ident, short filter, unsigned short flags, unsigned fflags,
                int64_t data, void* udata) {
  *event = {ident, filter, flags, fflags, data, udata, {}};
}

// What is registered for one filter and ident.
struct Note {
  unsigned short flags = 0;
  void* udata = nullptr;
  bool disabled = false;
  bool triggered = false;  // EVFILT_USER
  int timer = -1;          // EVFILT_TIMER
};

struct Queue {
  int outer;  // the user's to close
  int reading;
  int writing;
  int user;  // readable while a user event may be triggered
  std::mutex mutex;
  std::map<std::pair<int, uintptr_t>, Note> notes;
  int calls = 0;

  ~Queue() {
    for (auto& [key, note] : notes) {
      if (note.timer >= 0) ::close(note.timer);
    }
    ::close(reading);
    ::close(writing);
    ::close(user);
  }

  int epollOf(int filter) const { return filter == EVFILT_READ ? reading : writing; }
};

using Notes = decltype(Queue::notes);

inline std::mutex queuesMutex;
// Never destroyed: whoever is destroyed at exit may close a descriptor.
inline auto& queues = *new std::map<int, std::shared_ptr<Queue>>;

inline int control(int epoll, int operation, uintptr_t ident, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = ident;
  return ::epoll_ctl(epoll, operation, static_cast<int>(ident), &event) == 0 ? 0 : errno;
}

inline int option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

inline int request(int fd, unsigned long what) {
  int value = 0;
  ::ioctl(fd, what, &value);
  return value;
}

inline void ring(Queue& queue) {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(queue.user, &one, sizeof one);
}

inline bool takeCount(int fd, uint64_t& count) {
  return ::read(fd, &count, sizeof count) == sizeof count;
}

// --- changes -------------------------------------------------------------------------------------

inline uint32_t interestOf(int filter, const Note& note) {
  uint32_t events = filter == EVFILT_READ ? EPOLLIN | EPOLLPRI | EPOLLRDHUP : EPOLLOUT;
  if (note.disabled) {
    events = EPOLLONESHOT;
  } else if ((note.flags & (EV_ONESHOT | EV_DISPATCH)) != 0) {
    events |= EPOLLONESHOT;
  }
  if ((note.flags & EV_CLEAR) != 0) events |= EPOLLET;
  return events;
}

inline unsigned short keptFlags(const Kevent& change) {
  return change.flags & (EV_ONESHOT | EV_CLEAR | EV_DISPATCH);
}

inline void applyFlags(Note& note, const Kevent& change) {
  if ((change.flags & EV_ADD) != 0) note.udata = change.udata;
  if ((change.flags & EV_ENABLE) != 0) note.disabled = false;
  if ((change.flags & EV_DISABLE) != 0) note.disabled = true;
}

inline int changeDescriptor(Queue& queue, const Kevent& change, Notes::iterator found) {
  const int epoll = queue.epollOf(change.filter);
  const bool known = found != queue.notes.end();
  if (::fcntl(static_cast<int>(change.ident), F_GETFD) < 0) {
    if (known) queue.notes.erase(found);
    return EBADF;
  }
  if ((change.flags & EV_DELETE) != 0) {
    if (known) queue.notes.erase(found);
    return control(epoll, EPOLL_CTL_DEL, change.ident, 0);  // ENOENT: stale since a close()
  }
  if ((change.flags & EV_ADD) != 0) {
    Note fresh;
    fresh.flags = keptFlags(change);
    fresh.udata = change.udata;
    fresh.disabled = (change.flags & EV_DISABLE) != 0;
    const int error = control(epoll, EPOLL_CTL_ADD, change.ident, interestOf(change.filter, fresh));
    if (error == 0) queue.notes[{change.filter, change.ident}] = fresh;
    if (error != EEXIST) return error == EPERM ? EINVAL : error;  // EPERM: a regular file
  }
  if (!known) return ENOENT;
  applyFlags(found->second, change);
  return control(epoll, EPOLL_CTL_MOD, change.ident, interestOf(change.filter, found->second));
}

inline int armTimer(const Note& note, const Kevent& change) {
  if (change.data < 0) return EINVAL;
  int64_t ns = change.data * 1000000;
  if ((change.fflags & NOTE_SECONDS) != 0) {
    ns = change.data * 1000000000;
  } else if ((change.fflags & NOTE_USECONDS) != 0) {
    ns = change.data * 1000;
  } else if ((change.fflags & NOTE_NSECONDS) != 0) {
    ns = change.data;
  }
  if (ns == 0) ns = 1;
  const bool absolute = (change.fflags & NOTE_ABSTIME) != 0;
  itimerspec time{};
  time.it_value = {ns / 1000000000, ns % 1000000000};
  if ((change.flags & EV_ONESHOT) == 0 && !absolute) time.it_interval = time.it_value;
  const int flags = absolute ? TFD_TIMER_ABSTIME : 0;
  return ::timerfd_settime(note.timer, flags, &time, nullptr) == 0 ? 0 : errno;
}

inline int makeTimer(const Queue& queue, const Kevent& change) {
  const bool absolute = (change.fflags & NOTE_ABSTIME) != 0;
  const int timer =
      ::timerfd_create(absolute ? CLOCK_REALTIME : CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  control(queue.outer, EPOLL_CTL_ADD, static_cast<uintptr_t>(timer), EPOLLIN);
  return timer;
}

inline int changeOwn(Queue& queue, const Kevent& change, Notes::iterator found) {
  const bool known = found != queue.notes.end();
  if (!known && (change.flags & (EV_ADD | EV_DELETE)) != EV_ADD) return ENOENT;
  if ((change.flags & EV_DELETE) != 0) {
    if (found->second.timer >= 0) ::close(found->second.timer);
    queue.notes.erase(found);
    return 0;
  }
  Note& note = queue.notes[{change.filter, change.ident}];
  if (!known) note.flags = keptFlags(change);
  applyFlags(note, change);
  if (change.filter == EVFILT_USER) {
    if ((change.fflags & NOTE_TRIGGER) != 0) note.triggered = true;
    if (note.triggered && !note.disabled) ring(queue);
    return 0;
  }
  if (!known) note.timer = makeTimer(queue, change);
  return (change.flags & EV_ADD) != 0 ? armTimer(note, change) : 0;
}

// Makes one change: 0 or an errno.
inline int apply(Queue& queue, const Kevent& change) {
  const auto found = queue.notes.find({change.filter, change.ident});
  switch (change.filter) {
    case EVFILT_READ:
    case EVFILT_WRITE:
      return changeDescriptor(queue, change, found);
    case EVFILT_USER:
    case EVFILT_TIMER:
      return changeOwn(queue, change, found);
  }
  return EINVAL;
}

// --- events --------------------------------------------------------------------------------------

inline int64_t connectionsWaiting(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 1;
  return std::max<int64_t>(info.tcpi_unacked, 1);
}

// What `data` says: connections or bytes to read, or room to write.
inline int64_t amountOf(int fd, int filter) {
  const bool isSocket = option(fd, SOL_SOCKET, SO_TYPE) >= 0;
  if (filter == EVFILT_READ) {
    const bool listening = isSocket && option(fd, SOL_SOCKET, SO_ACCEPTCONN) > 0;
    return listening ? connectionsWaiting(fd) : request(fd, FIONREAD);
  }
  if (isSocket) {
    return std::max(option(fd, SOL_SOCKET, SO_SNDBUF) - request(fd, SIOCOUTQ), 0);
  }
  const int room = ::fcntl(fd, F_GETPIPE_SZ) - request(fd, FIONREAD);
  return room > 0 ? room : 1;
}

// Puts what epoll told of one descriptor into `event`; false when nobody wants to know.
inline bool fill(Kevent& event, Queue& queue, int filter, uintptr_t ident, uint32_t ready) {
  const auto found = queue.notes.find({filter, ident});
  if (found == queue.notes.end() || found->second.disabled) return false;
  if (ready == EPOLLPRI) return false;  // urgent data alone is not told
  Note& note = found->second;
  const int fd = static_cast<int>(ident);
  EV_SET(&event, ident, filter, EV_ADD | note.flags, 0, amountOf(fd, filter), note.udata);
  const bool final = (ready & (EPOLLHUP | EPOLLERR)) != 0;
  if (final || (filter == EVFILT_READ && (ready & EPOLLRDHUP) != 0)) {
    event.flags |= EV_EOF;
  }
  if ((ready & EPOLLPRI) != 0) event.flags |= EV_OOBAND;
  if ((note.flags & EV_ONESHOT) != 0) {
    control(queue.epollOf(filter), EPOLL_CTL_DEL, ident, 0);
    queue.notes.erase(found);
  } else if ((note.flags & EV_DISPATCH) != 0) {
    note.disabled = true;
  }
  return true;
}

// Where events go, and how much room is left.
struct Output {
  Kevent* events;
  int room;
  int count = 0;

  bool full() const { return count == room; }
  Kevent& next() { return events[count]; }
  bool has(int filter, uintptr_t ident) const {
    return std::any_of(events, events + count, [&](const Kevent& event) {
      return event.filter == filter && event.ident == ident;
    });
  }
};

// Asks one of the inner epolls once. Returns how many descriptors it told of; `level` becomes true
// when one of them is level-triggered.
inline int collectOnce(Queue& queue, Output& out, int filter, bool& level) {
  std::array<epoll_event, 64> ready;
  const int room = std::min(out.room - out.count, static_cast<int>(ready.size()));
  const int count = ::epoll_wait(queue.epollOf(filter), ready.data(), room, 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& one = ready[static_cast<size_t>(i)];
    if (!fill(out.next(), queue, filter, static_cast<uintptr_t>(one.data.u64), one.events))
      continue;
    level = level || (out.next().flags & EV_CLEAR) == 0;
    ++out.count;
  }
  return count;
}

inline void collectDescriptors(Queue& queue, Output& out, int filter) {
  // A level-triggered descriptor is ready again at once: one report a call.
  bool level = false;
  while (!out.full() && !level && collectOnce(queue, out, filter, level) > 0) {
  }
}

inline void collectUser(Queue& queue, Output& out) {
  uint64_t count;
  if (out.full() || !takeCount(queue.user, count)) return;
  bool more = false;
  for (auto next = queue.notes.begin(); next != queue.notes.end();) {
    const auto current = next++;
    Note& note = current->second;
    if (current->first.first != EVFILT_USER || !note.triggered || note.disabled) continue;
    if (out.full()) {
      more = true;
      break;
    }
    EV_SET(&out.next(), current->first.second, EVFILT_USER, EV_ADD | note.flags, 0, 0, note.udata);
    ++out.count;
    if ((note.flags & EV_CLEAR) != 0) {
      note.triggered = false;
    } else {
      more = true;
    }
    if ((note.flags & EV_DISPATCH) != 0) note.disabled = true;
    if ((note.flags & EV_ONESHOT) != 0) queue.notes.erase(current);
  }
  if (more) ring(queue);
}

inline void collectTimers(Queue& queue, Output& out) {
  for (auto next = queue.notes.begin(); next != queue.notes.end() && !out.full();) {
    const auto current = next++;
    Note& note = current->second;
    uint64_t expiries;
    if (current->first.first != EVFILT_TIMER || note.disabled) continue;
    if (!takeCount(note.timer, expiries)) continue;
    EV_SET(&out.next(), current->first.second, EVFILT_TIMER, EV_ADD | EV_CLEAR | note.flags, 0,
           expiries, note.udata);
    ++out.count;
    if ((note.flags & EV_ONESHOT) != 0) {
      ::close(note.timer);
      queue.notes.erase(current);
    } else if ((note.flags & EV_DISPATCH) != 0) {
      note.disabled = true;
    }
  }
}

inline void repeatWrites(Queue& queue, Output& out) {
  for (const auto& [key, note] : queue.notes) {
    if (out.full()) return;
    if (key.first != EVFILT_WRITE || note.disabled || out.has(EVFILT_WRITE, key.second)) continue;
    const uint32_t interest = interestOf(EVFILT_WRITE, note);
    if (control(queue.writing, EPOLL_CTL_MOD, key.second, interest) != 0) continue;
    bool level = false;
    collectOnce(queue, out, EVFILT_WRITE, level);
  }
}

// Puts what is ready into `events` and returns how many there are.
inline int collect(Queue& queue, Kevent* events, int room) {
  Output out{events, room};
  collectDescriptors(queue, out, EVFILT_READ);
  collectDescriptors(queue, out, EVFILT_WRITE);
  collectUser(queue, out);
  collectTimers(queue, out);
  if (spuriousWrites > 0 && ++queue.calls % spuriousWrites == 0) repeatWrites(queue, out);
  return out.count;
}

// --- the calls -----------------------------------------------------------------------------------

inline std::shared_ptr<Queue> find(int outer) {
  const std::lock_guard lock(queuesMutex);
  const auto found = queues.find(outer);
  return found == queues.end() ? nullptr : found->second;
}

// Makes the changes. Those that fail, or want a receipt, are told in `events`: returns how many, or
// -1 with errno when there is no room to tell.
inline int applyAll(Queue& queue, const Kevent* changes, int count, Kevent* events, int room) {
  int told = 0;
  for (int i = 0; i < count; ++i) {
    Kevent change = changes[i];
    int error;
    {
      const std::lock_guard lock(queue.mutex);
      error = apply(queue, change);
    }
    if (error == 0 && (change.flags & EV_RECEIPT) == 0) continue;
    if (told == room) {
      if (error == 0) continue;
      errno = error;
      return -1;
    }
    change.flags |= EV_ERROR;
    change.data = error;
    events[told++] = change;
  }
  return told;
}

inline int64_t monotonicNs() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * int64_t{1000000000} + time.tv_nsec;
}

inline int collectUntil(Queue& queue, Kevent* events, int room, const timespec* timeout) {
  int64_t deadline = 0;
  if (timeout != nullptr) {
    deadline = monotonicNs() + timeout->tv_sec * int64_t{1000000000} + timeout->tv_nsec;
  }
  for (;;) {
    timespec left{};
    if (timeout != nullptr) {
      const int64_t ns = std::max<int64_t>(deadline - monotonicNs(), 0);
      left = {ns / 1000000000, ns % 1000000000};
    }
    std::array<epoll_event, 4> ready;
    const int count = ::epoll_pwait2(queue.outer, ready.data(), static_cast<int>(ready.size()),
                                     timeout != nullptr ? &left : nullptr, nullptr);
    if (count < 0) return -1;
    const std::lock_guard lock(queue.mutex);
    const int told = collect(queue, events, room);
    if (told > 0 || (count == 0 && timeout != nullptr)) return told;
  }
}

}  // namespace kqueue_emulation

inline int kqueue() {
  namespace emulation = kqueue_emulation;
  auto queue = std::make_shared<emulation::Queue>();
  queue->outer = ::epoll_create1(EPOLL_CLOEXEC);
  queue->reading = ::epoll_create1(EPOLL_CLOEXEC);
  queue->writing = ::epoll_create1(EPOLL_CLOEXEC);
  queue->user = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (queue->outer < 0 || queue->reading < 0 || queue->writing < 0 || queue->user < 0) {
    if (queue->outer >= 0) ::close(queue->outer);
    return -1;
  }
  for (const int inner : {queue->reading, queue->writing, queue->user}) {
    emulation::control(queue->outer, EPOLL_CTL_ADD, static_cast<uintptr_t>(inner), EPOLLIN);
  }
  const std::lock_guard lock(emulation::queuesMutex);
  emulation::queues[queue->outer] = queue;  // an old one under this number was closed: it goes
  return queue->outer;
}

// In C, and so in kqueue(2), a struct and a call may have one name.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
inline int kevent(int outer, const struct kevent* changes, int changeCount, struct kevent* events,
                  int room, const timespec* timeout) {
  namespace emulation = kqueue_emulation;
  const std::shared_ptr<emulation::Queue> queue = emulation::find(outer);
  if (queue == nullptr) {
    errno = EBADF;
    return -1;
  }
  const int told = emulation::applyAll(*queue, changes, changeCount, events, room);
  if (told != 0 || room == 0) return told;
  return emulation::collectUntil(*queue, events, room, timeout);
}
#pragma GCC diagnostic pop
