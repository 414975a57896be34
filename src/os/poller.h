// Poller: what may be done on which descriptor, told as values. epoll and kqueue, one each.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "os/platform.h"
#include "warren/result.h"

namespace warren::os {

// What one descriptor may do, as bits. They are hints: a reader must live with an event that finds
// nothing to do, with two edges merged into one, and with an event for a descriptor it has closed.
enum Ready : uint32_t {
  kReadable = 1 << 0,  // bytes, a connection, or an end to read
  kEnded = 1 << 1,     // an end, an error or urgent data is queued: a short read is not the last
  kWritable = 1 << 2,  // room to write, or a connect that is decided
  kBroken = 1 << 3,    // an error, or both directions are over
};

// Laid out as struct epoll_event is, so that what the kernel writes need not be copied.
struct WARREN_PACKED_EVENT Event {
  uint32_t ready;
  uint64_t token;  // what was given to `add`

  bool is(Ready bit) const { return (ready & bit) != 0; }
};

// The one token that `add` and `retoken` do not take.
constexpr uint64_t kWakeToken = ~uint64_t{0};

// How a descriptor is watched.
enum class Watch : uint8_t {
  stream,    // edge-triggered, both directions, for the life of the descriptor
  listener,  // level-triggered, reading only
};

// A thin wrapper of the kernel's readiness queue. Owner: one reactor. Every call but `wake` belongs to
// the reactor's thread.
class Poller {
 public:
  static Result<Poller> make();
  ~Poller();
  Poller(Poller&&) noexcept;
  Poller& operator=(Poller&&) = delete;

  // Watches `fd` from now on. What is ready already is told in the next wait.
  Result<void> add(int fd, uint64_t token, Watch watch);
  // Gives a watched stream another token. What is ready now is told again.
  Result<void> retoken(int fd, uint64_t token);
  // Stops watching. Needed before a descriptor is closed only if others may hold it too (adopted ones,
  // dup(2), fork(2)), or to pause a listener; closing the last one does it.
  void remove(int fd);

  // Waits until something is ready, `wake` was called or `timeoutMs` have passed (-1: for ever, 0: only
  // looks), and returns what is ready: at most one event a descriptor. Interrupted by a signal it
  // returns early with nothing. The span lives until the next wait.
  std::span<const Event> wait(int64_t timeoutMs);

  // Makes a wait under way, or the next one, return. Any thread, any number of times; also from a
  // signal handler.
  void wake();

  // Says that this is a forked child's copy, to be destroyed next: that closes what the child has got
  // of it and nothing else. A child gets an epoll queue, so there this does nothing; it gets no kqueue,
  // whose number may be another file's.
  void abandon();

  // A descriptor that is readable when `wait(0)` would find something, for embedding.
  int fd() const;

 private:
  struct State;
  explicit Poller(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace warren::os
