// Resolver: names to addresses without blocking the reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/slab.h"
#include "os/poller.h"
#include "warren/address.h"
#include "warren/reactor.h"
#include "warren/result.h"

namespace warren::net {

// Asks the system's resolver on a thread of its own, or the function of the user. Nothing is
// cancelled: an answer to a question whose asker is gone finds a stale id and is dropped, and an
// answer after the resolver is gone finds nobody.
class Resolver {
 public:
  struct Answer {
    base::SlotId asker;
    Result<std::vector<Address>> addresses;
  };

  Resolver(os::Poller& poller, Resolve resolve);
  ~Resolver();
  // In a forked child, before it goes: a thread that does not exist there may have held the lock.
  void abandon();
  // Gives the user's function back.
  Resolve close() { return std::exchange(resolve_, {}); }
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Asks for `host`; the answer comes out of `take` in a later turn, with `asker`.
  void ask(const std::string& host, base::SlotId asker);
  bool hasAnswers() const;
  // The answers that have come since the last take.
  std::vector<Answer> take();

 private:
  void askUser(const std::string& host, base::SlotId asker);

  struct Desk;  // shared with whoever still has to answer

  std::shared_ptr<Desk> desk_;
  Resolve resolve_;
};

}  // namespace warren::net
