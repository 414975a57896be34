#include "net/mailbox.h"

#include <iterator>
#include <utility>

namespace warren::net {

// Once the reactor's thread sees what is sent, it may be about to destroy all this. The lock keeps it
// until the wake is done.
void Mailbox::post(Callback<> function) {
  const base::Lock lock(mutex_);
  if (closed_) return;
  posted_.push_back(std::move(function));
  const bool first = !hasPosted_.exchange(true, std::memory_order_release);
  if (first) poller_.wake();  // later ones find the reactor awake, or on its way
}

void Mailbox::stop(int code) {
  const base::Lock lock(mutex_);
  code_.store(code, std::memory_order_relaxed);
  stopped_.store(true, std::memory_order_release);
  poller_.wake();
}

void Mailbox::awaitSenders() { const base::Lock lock(mutex_); }

// Without the lock: there is but one thread left, and in a forked child another one may have held it.
std::vector<Callback<>> Mailbox::close() {
  closed_ = true;
  return std::exchange(posted_, {});
}

int Mailbox::takeStop() {
  return stopped_.exchange(false, std::memory_order_acq_rel) ? code_.load() : 0;
}

void Mailbox::take(std::vector<Callback<>>& into) {
  const base::Lock lock(mutex_);
  if (into.empty()) {
    into.swap(posted_);
  } else {
    into.insert(into.end(), std::make_move_iterator(posted_.begin()),
                std::make_move_iterator(posted_.end()));
    posted_.clear();
  }
  hasPosted_.store(false, std::memory_order_release);
}

}  // namespace warren::net
