from squirrel_ioc.cli import main

if __name__ == "__main__":
    main()
