// ReactorImpl: its end.
#include <utility>

#include "base/check.h"
#include "net/reactor_impl.h"

namespace warren::net {

ReactorImpl::~ReactorImpl() {
  if (inTurn_ || depth_ > 0)
    base::fatal("a reactor was destroyed by one of its own handlers, or what died in its turn");
  const bool forked = inChild();
  if (forked) {
    poller_.abandon();
    resolver_.abandon();
  } else {
    mailbox_.awaitSenders();  // a child has none, but perhaps a lock that one of them held
  }
  ending_ = true;
  // First everything is made to say `closed`, so that what the user's destructors call does nothing.
  for (HandlerCell* cell = cells_; cell != nullptr; cell = cell->next) {
    ++cell->references;  // ours: neither sockets nor listeners delete it
    Listener* listener = findListener(cell->listener);
    if (listener != nullptr && listener->listening()) {
      listener->abandon(forked);
      stopped_.push_back(listener);
    }
    for (uint32_t at = cell->firstSocket; at != kNone;) {
      auto* socket = static_cast<Connection*>(slab_.at(at));
      at = socket->links_.nextInCell;
      socket->state_ = State::closed;
    }
  }
  drains_.clear();
  for (HandlerCell* cell = cells_; cell != nullptr;) {
    HandlerCell* next = cell->next;
    while (cell->firstSocket != kNone) {
      static_cast<Connection*>(slab_.at(cell->firstSocket))->discard(forked);
    }
    releaseCell(*cell);
    cell = next;
  }
  for (Listener* listener : stopped_) listener->forget();
  timers_.expireAll();
  while (TimerSlot* timer = timers_.next()) timers_.cancel(*timer);
  dropFunctions();
}

// What the user has left here dies while the rest is still there, since its destructors may ask for it.
void ReactorImpl::dropFunctions() {
  const auto posted = mailbox_.close();
  const auto deferred = std::exchange(deferred_, {});
  const auto running = std::exchange(running_, {});
  const auto signals = std::exchange(signalHandlers_, {});
  const auto tables = std::exchange(replacedTables_, {});
  const auto uncaught = std::exchange(uncaught_, {});
  const Resolve option = std::exchange(options_.resolve, {});
  const Resolve resolve = resolver_.close();
}

}  // namespace warren::net
