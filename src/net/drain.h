// Drain: a graceful stop with a deadline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "net/connection.h"
#include "net/handler_cell.h"
#include "net/timers.h"
#include "warren/reactor.h"

namespace warren::net {

// Lets the sockets of one listener, or all of a reactor's, finish: those that have been quiet for a
// while are ended, those that are left at the deadline are cut.
//   owner  the reactor, until `finished`
class Drain {
 public:
  // `cell` null: all sockets there are.
  Drain(ReactorImpl& reactor, HandlerCell* cell, uint64_t deadline, DrainDone done);
  ~Drain();
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;

  // Past the deadline of a whole reactor: nothing new may begin.
  bool overdue() const { return cell_ == nullptr && pastDeadline(); }
  // Nothing is left of what it drains.
  bool finished() const;
  // Tells the user; once, when it is finished.
  void tell();

 private:
  template <class Visit>
  void forEachSocket(const Visit& visit) const;
  bool pastDeadline() const { return Timers::clock() >= deadline_; }
  void tick();
  void count();
  void endQuiet();
  void cutAll();

  ReactorImpl& reactor_;
  HandlerCell* const cell_;
  const DrainDone done_;
  const uint64_t tick_;  // milliseconds between two looks; nothing moved between them: quiet
  uint64_t deadline_;    // on the clock of Timers
  TimerSlot* timer_ = nullptr;
  std::unordered_map<uint64_t, uint64_t> traffic_;  // bytes by socket, at the last look
  size_t seen_ = 0;
  size_t cut_ = 0;
};

}  // namespace warren::net
