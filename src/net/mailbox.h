// Mailbox: the only door through which other threads reach a reactor.
#pragma once

#include <atomic>
#include <vector>

#include "base/lock.h"
#include "os/poller.h"
#include "warren/callback.h"

namespace warren::net {

// Functions to run on the reactor's thread, and its order to stop.
//   thread  `post` and `stop` any, the others the reactor's
class Mailbox {
 public:
  explicit Mailbox(os::Poller& poller) : poller_(poller) {}

  // Keeps the order of each posting thread.
  void post(Callback<> function);
  void stop(int code);
  // Returns when nobody is inside `post` or `stop` any more. The poller must not go before.
  void awaitSenders();
  // Gives what nobody will run, and keeps nothing that is posted from here on.
  std::vector<Callback<>> close();

  bool hasPosted() const { return hasPosted_.load(std::memory_order_acquire); }
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  // Takes the order to stop and gives its code.
  int takeStop();
  // Moves everything posted behind `into`.
  void take(std::vector<Callback<>>& into);

 private:
  os::Poller& poller_;
  base::Mutex mutex_;
  std::vector<Callback<>> posted_;
  bool closed_ = false;
  std::atomic<bool> hasPosted_ = false;
  std::atomic<bool> stopped_ = false;
  std::atomic<int> code_ = 0;
};

}  // namespace warren::net
