#include "warren/callback.h"

#include <functional>
#include <memory>
#include <string>
#include <type_traits>

#include "support/allocations.h"
#include "support/catch.h"

using warren::Callback;

namespace {

int lastSeen = 0;
void see(int value) { lastSeen = value; }
int seeAndAnswer(int value) { return lastSeen = value; }

struct Counter {
  int count = 0;
  void add(int value) { count += value; }
};

struct NoCall {};

// As the typed handlers do it: callables want a text made from the number that arrives.
struct Text {
  explicit Text(int number) : value(std::to_string(number)) {}
  std::string value;
};

class TextCallback : public Callback<int> {
 public:
  template <class F>
  explicit TextCallback(F callable) {
    keep<Text>(std::move(callable));
  }
};

}  // namespace

TEST_CASE("a default callback is no callable", "[callback]") {
  const Callback<int> callback;
  CHECK_FALSE(callback);
}

TEST_CASE("a null function pointer and an empty std::function are no callables", "[callback]") {
  void (*null)(int) = nullptr;
  void (Counter::*nullMember)(int) = nullptr;
  CHECK_FALSE(Callback<int>(null));
  CHECK_FALSE(Callback<int>(std::function<void(int)>()));
  CHECK_FALSE(Callback<Counter&, int>(nullMember));
}

TEST_CASE("an empty callback is no callable for one of another kind either", "[callback]") {
  const Callback<int> empty;
  CHECK_FALSE(Callback<long>(empty));
  CHECK(Callback<long>(Callback<int>(see)));
}

TEST_CASE("plain functions are called, and their answer is dropped", "[callback]") {
  Callback<int> callback = see;
  REQUIRE(callback);
  callback(7);
  CHECK(lastSeen == 7);
  callback = &seeAndAnswer;
  callback(8);
  CHECK(lastSeen == 8);
  callback = std::function<void(int)>(see);
  callback(9);
  CHECK(lastSeen == 9);
}

TEST_CASE("lambdas are called: plain, generic, with captures, mutable", "[callback]") {
  lastSeen = 0;
  Callback<int> callback = [](int value) { lastSeen = value; };
  callback(1);
  CHECK(lastSeen == 1);

  callback = [](auto value) { lastSeen = value + 1; };
  callback(2);
  CHECK(lastSeen == 3);

  callback = [](auto&&...) { lastSeen = -1; };
  callback(2);
  CHECK(lastSeen == -1);

  int sum = 0;
  callback = [&sum](int value) { sum += value; };
  callback(20);
  callback(22);
  CHECK(sum == 42);

  callback = [calls = 0](int) mutable { lastSeen = ++calls; };
  callback(0);
  callback(0);
  CHECK(lastSeen == 2);
}

TEST_CASE("a callback may own what cannot be copied, and be given it", "[callback]") {
  int seen = 0;
  const Callback<> owner = [number = std::make_unique<int>(5), &seen] { seen = *number; };
  owner();
  CHECK(seen == 5);

  const Callback<std::unique_ptr<int>> taker = [&seen](std::unique_ptr<int> number) {
    seen = *number;
  };
  taker(std::make_unique<int>(6));
  CHECK(seen == 6);
}

TEST_CASE("a reference argument reaches the callable as itself", "[callback]") {
  const Callback<Counter&, int> lambda = [](Counter& counter, int value) { counter.add(value); };
  const Callback<Counter&, int> member = &Counter::add;
  Counter counter;
  lambda(counter, 1);
  member(counter, 2);
  CHECK(counter.count == 3);
}

TEST_CASE("copies share one callable and its state", "[callback]") {
  const auto alive = std::make_shared<int>(0);
  {
    Callback<> first = [alive, calls = 0]() mutable { *alive = ++calls; };
    const Callback<> second = first;
    CHECK(alive.use_count() == 2);  // ours and the callable's: it was not copied
    first();
    second();
    CHECK(*alive == 2);
    first = Callback<>();
    CHECK_FALSE(first);
    second();
    CHECK(*alive == 3);
  }
  CHECK(alive.use_count() == 1);
}

TEST_CASE("moving a callback leaves no second owner", "[callback]") {
  const auto alive = std::make_shared<int>(0);
  Callback<> first = [alive] { ++*alive; };
  const Callback<> second = std::move(first);
  second();
  CHECK(*alive == 1);
  CHECK(alive.use_count() == 2);
}

TEST_CASE("a callable without state allocates nothing, one with state once", "[callback]") {
  const uint64_t before = warren::test::allocations();
  const Callback<int> stateless = [](int value) { lastSeen = value; };
  const Callback<int> generic = [](auto value) { lastSeen = value; };
  const Callback<int> copy = stateless;
  stateless(1);
  generic(2);
  copy(3);
  const uint64_t after = warren::test::allocations();
  CHECK(after == before);

  int seen = 0;
  const Callback<int> stateful = [&seen](int value) { seen = value; };
  const Callback<int> shared = stateful;
  shared(4);
  const uint64_t last = warren::test::allocations();
  CHECK(last == after + 1);
  CHECK(seen == 4);
}

TEST_CASE("a typed callback hands its callable what that wants", "[callback]") {
  std::string seen;
  const TextCallback stateful([&seen](Text text) { seen = text.value; });
  stateful(12);
  CHECK(seen == "12");
  const Callback<int> plain = stateful;  // the type was only needed for making it
  plain(13);
  CHECK(seen == "13");
  const TextCallback generic([](auto text) { lastSeen = static_cast<int>(text.value.size()); });
  generic(1234);
  CHECK(lastSeen == 4);
}

TEST_CASE("what cannot be called is refused by the compiler", "[callback]") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Callback<int>, NoCall>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Callback<int>, int>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Callback<int>, void (*)(std::string)>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Callback<>, void (*)(int)>);
  STATIC_REQUIRE(std::is_constructible_v<Callback<int>, void (*)(long)>);
}
