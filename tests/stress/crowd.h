// The kinds of peers that several scenarios have.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <random>
#include <vector>

#include "stress/peer.h"
#include "stress/server.h"

namespace stress {

// Says something when it is told to and counts itself once it has all of it back.
class Talker : public Peer {
 public:
  Talker(Loop& loop, size_t& done) : Peer(loop), done_(done) {}
  void talk(uint64_t bytes);

 protected:
  void step() override;

 private:
  size_t& done_;
  bool waiting_ = false;
};

// Lets each of them do `begin`, `window` at a time; that ends when their talk is answered.
void inTurn(Loop& loop, std::deque<Talker>& talkers, size_t window, const char* what, size_t& done,
            const std::function<void(Talker&)>& begin);

// Sends a message, and the next one as soon as it has it back.
class Pinger : public Peer {
 public:
  Pinger(Loop& loop, size_t size) : Peer(loop), size_(size) {}
  void start(const Target& target);
  void halt() { halted_ = true; }  // after the message under way
  bool idle() const { return halted_ && answered(); }
  std::vector<double>& latencies() { return latencies_; }  // seconds

 protected:
  void step() override;

 private:
  void ping();

  size_t size_;
  bool halted_ = false;
  double begin_ = 0;
  std::vector<double> latencies_;
};

// The p99 of all of them in milliseconds, and how many; forgets what they have measured.
struct Latency {
  double p99 = 0;
  size_t count = 0;
};
Latency takeLatency(std::deque<Pinger>& pingers);

// Pingers that have had their first answer; and what ends them, by FIN.
void start(Loop& loop, std::deque<Pinger>& pingers, size_t count, size_t size,
           const Target& target);
void end(Loop& loop, std::deque<Pinger>& pingers);

// Comes, says a word, hears it and goes, again and again. One in four ends first, one in four lets the
// server end first, and the others reset.
class Visitor : public Peer {
 public:
  static constexpr size_t kWord = 64;
  struct Tally {
    Target echo;
    Target hangUp;  // ends after a word
    size_t goal = 0;
    size_t begun = 0;
    size_t resets = 0;
    size_t done = 0;
  };
  Visitor(Loop& loop, Tally& tally) : Peer(loop), tally_(tally) {}
  void visit();

 protected:
  void step() override;

 private:
  void leave();

  Tally& tally_;
  size_t number_ = 0;
};

// What a server does for the visitors who let it end first.
warren::SocketHandlers<> hangUpAfterAWord();

// Does what no good peer does, another thing each time.
class Rogue : public Peer {
 public:
  enum Plan {
    resetAtOnce,
    resetInTheMiddle,
    resetUnread,
    endAtOnce,
    endAfterAll,
    endAndReset,
    closeUnread,
    takeNothing,
    kPlans
  };
  static const char* name(size_t plan);
  struct Tally {
    std::vector<Target> targets;
    std::mt19937_64 random = std::mt19937_64(1);
    size_t goal = 0;
    size_t begun = 0;
    size_t done = 0;
    std::array<size_t, kPlans> plans{};
  };
  Rogue(Loop& loop, Tally& tally) : Peer(loop), tally_(tally) {}
  void begin();

 protected:
  void step() override;

 private:
  // Whether its time has come to go; fails if the server owes it something.
  bool through() const;

  Tally& tally_;
  Plan plan_ = resetAtOnce;
};

}  // namespace stress
