// Stage: where a scenario is played against warren, and its trace recorded and compared.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "conformance/deviations.h"
#include "conformance/trace.h"
#include "support/catch.h"
#include "support/net.h"
#include "warren/warren.h"

namespace warren::conformance {

// What scenarios call a socket's context: any value, or none. Copies are the same object.
using Context = std::shared_ptr<Json>;
inline Context context(Json value) { return std::make_shared<Json>(std::move(value)); }

using Actor = Socket<Context>;
using Table = SocketHandlers<Context>;
using Listening = ListenOptions<Context>;
using Connecting = ConnectOptions<Context>;
using Host = Listener<Context>;

// Names a scenario that a test plays, so that another test can find the forgotten ones.
struct Played {
  explicit Played(const char* scenario);
  static const std::set<std::string>& all();
};

#define WARREN_JOIN_(left, right) left##right
#define WARREN_JOIN(left, right) WARREN_JOIN_(left, right)
// Begins the test of one scenario: its name and its title.
#define SCENARIO_TEST(name, title)                          \
  static const Played WARREN_JOIN(kPlayed, __LINE__)(name); \
  TEST_CASE(name ": " title, "[conformance]")

class Stage {
 public:
  explicit Stage(const std::string& scenario, ReactorOptions options = {});

  // --- actors ------------------------------------------------------------------------------------

  // A table that notes every event of `who` and then calls the same handler of `then`; `handshake` is
  // in it only if it is in `then`. A name that ends in '#' gets the number of the socket: server#1.
  Table complete(const std::string& who, Table then = {});

  // The socket that last opened, or began to connect, under this name; or was given it.
  Actor operator[](const std::string& who) const;
  void call(const std::string& who, Actor socket) { sockets_[who] = socket; }

  // Also notes how connecting ended, as the promise of the reference tells it.
  void promise(const std::string& who) { promises_.insert(who); }

  // Listens on 127.0.0.1 with port 0, unless the options say otherwise.
  Host listen(Table table, Listening options = {});
  // Connects to the last listener, unless the options say otherwise.
  Actor connect(const std::string& who, Table table, Connecting options = {});
  // listen, connect, and both have opened.
  Host pair(Table server, Table client, Listening listening = {}, Connecting connecting = {});
  // Another client of the last listener, open on both sides.
  Actor join(const std::string& who, Table table, Connecting options = {});

  // Notes the call and what it answers; for options that may be refused. The table is in the options.
  Result<Host> listens(const std::string& who, const std::string& what, Listening options);
  Result<Actor> connects(const std::string& who, const std::string& what, Connecting options);
  // A table that notes nothing but how connecting ended.
  Table completion(const std::string& who);

  const Host& host() const { return host_; }

  // --- noting ------------------------------------------------------------------------------------

  void note(const std::string& who, const std::string& what);
  void note(const std::string& who, const std::string& what, const Json& value);
  // A line of any other kind.
  void line(const std::string& who, const std::string& text);

  // Notes a call, runs it, and notes what it returned. Events inside it are marked.
  template <class F>
  auto does(const std::string& who, const std::string& what, F body) -> decltype(body()) {
    const Inside inside(*this, who, what);
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      returned(inside, " = undefined");
    } else {
      auto value = body();
      returned(inside, outcome(value));
      return value;
    }
  }

  // The verbs of the socket of that name.
  std::ptrdiff_t write(const std::string& who, std::string_view text);
  std::ptrdiff_t end(const std::string& who);
  std::ptrdiff_t end(const std::string& who, std::string_view text);
  void close(const std::string& who);
  void terminate(const std::string& who);
  void shutdown(const std::string& who);
  void pause(const std::string& who);
  void resume(const std::string& who);
  void readyState(const std::string& who, const std::string& what = "readyState");

  // --- waiting -----------------------------------------------------------------------------------

  // Turns until nothing has happened for some turns.
  void quiet();
  // Turns until the condition holds, and then until it is quiet.
  void until(const std::function<bool()>& condition);
  // How many events `who` has had whose line begins with this.
  size_t count(const std::string& who, const std::string& event) const;
  void awaits(const std::string& who, const std::string& event, size_t times = 1);
  // Turns for so long, for steps in which time is what matters.
  void pass(Duration time);
  // One turn. What a handler throws and no `error` handler takes goes to `uncaught`.
  void step(Duration patience);
  std::function<void(const std::exception&)> uncaught{};

  // Notes all that a raw peer reads until its stream ends.
  void reads(const std::string& who, test::RawSocket& raw);

  // --- comparing ---------------------------------------------------------------------------------

  // Turns until the trace is the expected one, or time is up; and says where they differ.
  void conforms();

  Reactor& reactor() { return reactor_; }
  Recording& recording() { return recording_; }

 private:
  // A call under way.
  class Inside {
   public:
    Inside(Stage& stage, const std::string& who, const std::string& what);
    ~Inside();
    Inside(const Inside&) = delete;
    size_t at;

   private:
    Stage& stage_;
  };

  static std::string outcome(bool value) { return value ? " = true" : " = false"; }
  static std::string outcome(const Json& value) { return " = " + shown(value); }
  static std::string outcome(const std::string& value) { return outcome(Json(value)); }
  template <std::integral Number>
    requires(!std::same_as<Number, bool>)
  static std::string outcome(Number value) { return " = " + std::to_string(value); }
  template <class T>
  static std::string outcome(const Result<T>& result) {
    if (!result) return " !! " + shown(result.error());
    if constexpr (std::is_void_v<T>) {
      return " = undefined";
    } else if constexpr (std::is_same_v<T, Actor>) {
      return " = \"Promise\"";
    } else if constexpr (std::is_same_v<T, Host>) {
      return " = \"listener\"";
    } else {
      return outcome(*result);
    }
  }
  void returned(const Inside& call, const std::string& outcome) { trace_.amend(call.at, outcome); }

  std::string nameOf(const std::string& who, Actor socket);
  std::string stateOf(const std::string& who, Actor socket) const;
  void event(const std::string& who, Actor socket, const std::string& text);
  void data(const std::string& who, Actor socket, Bytes bytes);
  void settled(const std::string& who, Actor socket, const std::string& text);

  Recording recording_;
  Trace trace_;
  std::vector<std::string> inside_;
  std::map<std::string, Actor> sockets_;
  std::map<uint64_t, std::string> names_;
  std::map<std::string, int> numbers_;
  std::set<std::string> promises_;
  Host host_;
  // Last, so that no Data or handler outlives what it notes to.
  Reactor reactor_;
};

// How traces show a ready state: the reference knows 1 and -1, and 2 for "neither".
Json readyState(Actor socket);

// "full", "partial", or the count itself where it is neither.
Json amount(std::ptrdiff_t taken, size_t given);

// `count` bytes that are worth comparing, the same every time.
const std::vector<std::byte>& bytes(size_t count);

constexpr size_t kMiB = size_t{1} << 20;

}  // namespace warren::conformance
